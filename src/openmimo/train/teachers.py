"""Teachers of distillation: checkpoints of ours in this process, or any OpenAI-compatible server.

A teacher is asked about tokens that the student wrote. It never writes any itself.
"""

import http.client
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmimo.checkpoint import Checkpoint
from openmimo.errors import ConfigError, TrainingError
from openmimo.model.model import MiMo, load_model
from openmimo.train.policy import PolicyBatch, own_logits
from openmimo.train.processes import training_device
from openmimo.train.rollout import Rollout

__all__ = ["SELF", "Opinion", "ServerTeacher", "Teachers", "read_logits"]

Opinion = tuple[Tensor, Tensor | None]
"""A teacher's log-probability of every token that the student wrote [R], and its logits [R, V] if asked for."""

SELF = "self"
"""In place of a teacher: the student as it was before distillation, for a domain that has no better one."""
ATTEMPTS = 4
BACKOFF_S = 1.0
TIMEOUT_S = 120.0
CONCURRENCY = 8


class Teachers:
    """The teachers of all domains.

    Args:
        named: for each domain a checkpoint folder, a server, or `SELF`.
        student: checkpoint that distillation starts from.
        is_rotated: keep one model in memory and read another when a domain needs it, in place of keeping all.
    Attributes:
        folders: checkpoints by domain, `SELF` resolved.
        servers: servers by domain.
    """

    def __init__(
        self, named: Mapping[str, "str | Path | ServerTeacher"], student: str | Path, is_rotated: bool = False
    ):
        self.servers = {domain: teacher for domain, teacher in named.items() if isinstance(teacher, ServerTeacher)}
        self.folders = {
            domain: Path(student if teacher == SELF else teacher)
            for domain, teacher in named.items()
            if not isinstance(teacher, ServerTeacher)
        }
        self._student, self._is_rotated = Path(student), is_rotated
        self._models: dict[Path, MiMo] = {}

    @property
    def checkpoints(self) -> list[Path]:
        """Every checkpoint that teaches, once."""
        return list(dict.fromkeys(self.folders.values()))

    @property
    def names(self) -> dict[str, str]:
        """What identifies the teacher of each domain, to be compared when a run goes on."""
        return {**{d: str(p) for d, p in self.folders.items()}, **{d: s.url for d, s in self.servers.items()}}

    def is_self(self, domain: str) -> bool:
        """Whether the student of the start teaches a domain."""
        return self.folders.get(domain) == self._student

    def model(self, domain: str) -> MiMo:
        """The teacher of a domain, in eval mode on the training device.

        Args:
            domain: its name.
        Returns:
            the model; domains with one checkpoint share it.
        Raises:
            ConfigError: no checkpoint teaches that domain.
            CheckpointError: its folder is damaged.
        """
        if domain not in self.folders:
            raise ConfigError(f"no checkpoint is named to teach {domain!r}: name one, or {SELF!r}")
        folder = self.folders[domain]
        if folder not in self._models:
            if self._is_rotated:
                self._models.clear()
            self._models[folder] = load_model(Checkpoint.open(folder)).to(training_device()).requires_grad_(False)
        return self._models[folder]

    def logits(self, domain: str, batch: PolicyBatch) -> Tensor:
        """What the teacher of a domain would have written in place of every own token.

        Args:
            domain: of all rollouts of the batch.
            batch: the rollouts.
        Returns:
            as `read_logits`.
        Raises:
            ConfigError: no checkpoint teaches that domain.
        """
        return read_logits(self.model(domain), batch)

    def score(self, asked: Sequence[tuple[str, PolicyBatch]], is_full: bool) -> Iterator[Opinion]:
        """Ask the checkpoints that teach, one batch after another.

        Args:
            asked: batches, each with its domain.
            is_full: logits are wanted, too.
        Returns:
            what they think, in the order of the batches.
        Raises:
            ConfigError: no checkpoint teaches a domain.
        """
        for domain, batch in asked:
            teacher_RV = self.logits(domain, batch)
            teacher_R = teacher_RV.log_softmax(-1).gather(1, batch.ids_R[:, None]).squeeze(1)
            yield teacher_R, teacher_RV if is_full else None

    def forget(self) -> None:
        """Give back the memory of all models; one that is asked for is read again."""
        self._models.clear()


@torch.no_grad()
def read_logits(model: MiMo, batch: PolicyBatch) -> Tensor:
    """A model's opinion on what was written.

    Args:
        model: any mode; put back as it was. Its experts choose freely: they are not the sampler's.
        batch: rollouts.
    Returns:
        float32 [R, V] logits that every own token might have been chosen from.
    """
    was_training = model.training
    model.eval()
    try:
        return own_logits(model, batch)[1]
    finally:
        model.train(was_training)


class ServerTeacher:
    """A model behind an OpenAI-compatible API whose completions can echo the prompt with its log-probabilities.

    Nothing is sampled: each sequence goes out as token ids and comes back scored. Only `vocabulary` can tell that the
    ids mean there what they mean here.

    Args:
        url: base of the API, such as "http://127.0.0.1:8001/v1".
        model: its name there.
        api_key: sent as a bearer token if given.
        timeout_s: for one sequence.
    Attributes:
        url: where completions are asked for.
    Raises:
        ConfigError: the URL is neither http nor https.
    Source: `echo` and `logprobs` of the OpenAI completions API, with token ids as the prompt; vLLM's server has them.
    """

    def __init__(self, url: str, model: str, api_key: str | None = None, timeout_s: float = TIMEOUT_S):
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"the teacher's URL {url!r} must begin with http:// or https://, and end with /v1")
        self.url, self._model, self._timeout_s = f"{url.rstrip('/')}/completions", model, timeout_s
        self._api_key = api_key

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Score sequences, several at once.

        Args:
            sequences: token ids, at least two each.
        Returns:
            for each, the log-probability of every token given those before it; 0.0 for the first, which nothing
            predicts.
        Raises:
            TrainingError: the server cannot be reached, refuses, or does not report what was asked for.
        """
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            return list(pool.map(lambda ids: self._score(ids)[0], sequences))

    def own_logprobs(self, rollouts: Sequence[Rollout]) -> Tensor:
        """Score what a student wrote.

        Args:
            rollouts: its episodes.
        Returns:
            float32, one number for each own token, rollout after rollout.
        Raises:
            TrainingError: as `logprobs`.
        """
        scored = zip(self.logprobs([rollout.ids for rollout in rollouts]), rollouts, strict=True)
        return torch.tensor(
            [value for values, rollout in scored for value, own in zip(values, rollout.is_own, strict=True) if own]
        )

    def vocabulary(self, ids: Sequence[int]) -> list[str]:
        """What the server takes token ids for.

        Args:
            ids: token ids, at least two.
        Returns:
            the text of each by the server's account.
        Raises:
            TrainingError: as `logprobs`.
        """
        return self._score(ids)[1]

    def _score(self, ids: Sequence[int]) -> tuple[list[float], list[str]]:
        body = {
            "model": self._model,
            "prompt": list(ids),
            "max_tokens": 1,
            "temperature": 0,
            "echo": True,
            "logprobs": 1,
        }
        answer = self._post(body)
        try:
            found = answer["choices"][0]["logprobs"]
            values, texts = found["token_logprobs"][: len(ids)], found["tokens"][: len(ids)]
        except (KeyError, IndexError, TypeError) as error:
            raise self._useless(f"its answer has no {error}") from error
        if len(values) < len(ids) or not all(isinstance(value, int | float) for value in values[1:]):
            raise self._useless(f"it scored {len(values)} of {len(ids)} tokens, or left some out")
        if not all(math.isfinite(value) and value <= 1e-3 for value in values[1:]):
            raise self._useless("some of its log-probabilities are not finite or above 0")
        return [0.0, *map(float, values[1:])], list(map(str, texts))

    def _post(self, body: Mapping[str, Any]) -> Any:
        data = json.dumps(body).encode()
        problem: Exception | None = None
        for attempt in range(ATTEMPTS):
            request = urllib.request.Request(self.url, data, {"Content-Type": "application/json"})
            if self._api_key:  # not for whomever the server redirects to
                request.add_unredirected_header("Authorization", f"Bearer {self._api_key}")
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                text = error.read(500).decode(errors="replace")
                error.close()
                if error.code < 500 and error.code != 429:
                    raise self._useless(f"it answers {error.code}: {text}") from error
                problem = error
            except (OSError, ValueError, http.client.HTTPException) as error:  # the last if it dies while it answers
                problem = error
            if attempt + 1 < ATTEMPTS:
                time.sleep(BACKOFF_S * 2**attempt)
        raise TrainingError(
            f"the teacher at {self.url} cannot be used after {ATTEMPTS} attempts: {problem}. Start it again and resume"
        ) from problem

    def _useless(self, reason: str) -> TrainingError:
        return TrainingError(
            f"the teacher at {self.url} gives no log-probabilities of prompts: {reason}. It must take token ids with "
            '"echo" and "logprobs", as completions of the OpenAI API'
        )
