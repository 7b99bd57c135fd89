"""Checks before distillation: does each teacher speak the student's tokens, and has it anything to teach?"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from math import hypot
from pathlib import Path
from statistics import stdev
from typing import Any

import torch
from torch import Tensor

from openmimo.chat import ChatFormat, Message, ToolCall
from openmimo.checkpoint import Checkpoint
from openmimo.engine import find_eos_ids
from openmimo.errors import ConfigError, RequestError
from openmimo.tokenizer import Tokenizer
from openmimo.train.distill import reverse_kl
from openmimo.train.rollout import Rollout

__all__ = [
    "DomainCheck",
    "Fingerprint",
    "Played",
    "Preflight",
    "check_domain",
    "find_conflicts",
    "find_other_texts",
    "read_fingerprint",
]

MAX_KL = 0.2
"""Nats a token from student to teacher; beyond it students of our toy runs recovered half of the headroom only."""
MIN_SHARED_MASS = 0.9
"""What the teacher leaves of the probability of the student's likely tokens; below, most advantages are negative."""
TOP = 5

_TOOL = {
    "type": "function",
    "function": {"name": "go", "description": "Go.", "parameters": {"properties": {"to": {"type": "string"}}}},
}
_TURNS = [
    Message("system", "S"),
    Message("user", "U"),
    Message("assistant", "", tool_calls=(ToolCall("go", {"to": "x"}, "1"),)),
    Message("tool", "T", tool_call_id="1"),
    Message("assistant", "A", reasoning="R"),
    Message("user", "V"),
]
_PROBES: tuple[tuple[list[Message], list[dict[str, Any]], bool], ...] = (
    (_TURNS[1:2], [], True),
    (_TURNS[:2], [_TOOL], True),
    (_TURNS[:4], [_TOOL], True),
    (_TURNS[:5], [_TOOL], False),
    (_TURNS, [], True),
)
"""Conversations that two templates must write alike: messages, tools, whether an answer is to follow."""


@dataclass(frozen=True)
class Fingerprint:
    """What must be the same in student and teacher, as digests for the report.

    Attributes:
        num_ids: logits of the model.
        vocabulary: of every token id's bytes, control tokens included.
        control: of the control tokens with their ids.
        template: of what the chat template makes of a few conversations.
        eos_ids: tokens that end a reply.
    """

    num_ids: int
    vocabulary: str
    control: str
    template: str
    eos_ids: tuple[int, ...]


@dataclass(frozen=True)
class Played:
    """How a model does a domain's tasks.

    Attributes:
        reward: mean.
        length: mean tokens that it writes.
        truncated: share of episodes that were cut off.
        count: of episodes.
        spread: standard error of the reward; None for a single episode.
    """

    reward: float
    length: float
    truncated: float
    count: int = 1
    spread: float | None = None

    @classmethod
    def of(cls, rollouts: Sequence[Rollout]) -> "Played":
        """Sum up episodes, at least one."""
        count, rewards = len(rollouts), [rollout.reward for rollout in rollouts]
        return cls(
            sum(rewards) / count,
            sum(rollout.num_own for rollout in rollouts) / count,
            sum(rollout.is_truncated for rollout in rollouts) / count,
            count,
            stdev(rewards) / count**0.5 if count > 1 else None,
        )


@dataclass(frozen=True)
class DomainCheck:
    """What a domain's teacher has to teach, measured on what the student writes.

    Attributes:
        domain: its name.
        num_tokens: tokens that were compared.
        kl: KL(student || teacher), nats a token.
        overlap: share of the student's 5 most likely tokens that are among the teacher's.
        shared_mass: probability that the teacher gives to those of the student, as a share of what the student does.
            Like `overlap` None for a server, which tells about written tokens only.
        student_reward, teacher_reward: mean rewards of both at the domain's tasks; None where nobody played them.
        is_self: the teacher is the student itself.
        student_length, teacher_length, student_truncated, teacher_truncated: as of `Played`, where known.
        student_entropy, teacher_entropy: of both at the tokens that were compared, nats; where known.
        num_played: tasks that each of both did.
        margin: half of the 95% interval of `headroom`; None where there are too few tasks to tell one.
    """

    domain: str
    num_tokens: int
    kl: float
    overlap: float | None = None
    shared_mass: float | None = None
    student_reward: float | None = None
    teacher_reward: float | None = None
    is_self: bool = False
    student_length: float | None = None
    teacher_length: float | None = None
    student_truncated: float | None = None
    teacher_truncated: float | None = None
    student_entropy: float | None = None
    teacher_entropy: float | None = None
    num_played: int = 0
    margin: float | None = None

    @property
    def headroom(self) -> float | None:
        """What the student could gain, or None if unknown."""
        if self.student_reward is None or self.teacher_reward is None:
            return None
        return self.teacher_reward - self.student_reward

    @property
    def warnings(self) -> list[str]:
        """What makes trouble likely, in plain words."""
        found = []
        if self.kl > MAX_KL:
            found.append(
                f"{self.domain}: the teacher is far off, {self.kl:.2f} nats a token (over {MAX_KL}): teach it with a "
                "lower learning rate, or fine-tune the student briefly on its samples first"
            )
        if self.shared_mass is not None and self.shared_mass < MIN_SHARED_MASS:
            found.append(
                f"{self.domain}: the teacher leaves what the student would write {100 * self.shared_mass:.0f}% of its "
                f"probability (under {100 * MIN_SHARED_MASS:.0f}%): are prompts written as in its training?"
            )
        if not self.is_self and self.headroom is not None and self.headroom <= 0:
            found.append(f"{self.domain}: {self._doubt(self.headroom)}")
        return found

    def _doubt(self, headroom: float) -> str:
        advice = "make it 'self'"
        if self.margin is None:
            return f"the teacher is no better than the student: {advice}"
        measured = f"{100 * headroom:+.1f} ± {100 * self.margin:.1f} points in {self.num_played} tasks"
        if headroom + self.margin > 0:
            return f"the teacher did no better than the student, {measured}, too few to tell: score both, or {advice}"
        return f"the teacher is no better than the student, {measured}: {advice}"


@dataclass(frozen=True)
class Preflight:
    """The report.

    Attributes:
        refusals: why distillation must not begin.
        checks: of every domain that could be measured.
        fingerprint: of the student, which every checkpoint that teaches shares; None in reports of older versions.
    """

    refusals: tuple[str, ...]
    checks: tuple[DomainCheck, ...] = ()
    fingerprint: Fingerprint | None = None

    @property
    def warnings(self) -> list[str]:
        """Of all domains."""
        return [line for check in self.checks for line in check.warnings]

    def raise_if_refused(self) -> None:
        """Raise a ConfigError that lists every refusal."""
        if self.refusals:
            raise ConfigError(f"these teachers cannot teach this student: {'; '.join(self.refusals)}")

    def as_data(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        checks = [{**asdict(check), "headroom": check.headroom} for check in self.checks]
        fingerprint = None if self.fingerprint is None else asdict(self.fingerprint)
        return {
            "refusals": list(self.refusals),
            "warnings": self.warnings,
            "fingerprint": fingerprint,
            "domains": checks,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Preflight":
        """Undo `as_data`."""
        checks = ({key: value for key, value in check.items() if key != "headroom"} for check in data["domains"])
        found = data.get("fingerprint")
        fingerprint = Fingerprint(**{**found, "eos_ids": tuple(found["eos_ids"])}) if found else None
        return cls(tuple(data["refusals"]), tuple(DomainCheck(**check) for check in checks), fingerprint)

    def save(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all.

        Args:
            path: file.
        Raises:
            OSError: it cannot be written.
        """
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(self.as_data(), indent=1), encoding="utf-8")
        os.replace(partial, path)

    def as_text(self) -> str:
        """The report as a Markdown table with the warnings under it; two numbers are student's and teacher's."""
        rows = [
            "| domain | KL | top 5 shared | mass shared | student | teacher | headroom | length | cut off | entropy |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for check in self.checks:
            rewards = [_percent(value) for value in (check.student_reward, check.teacher_reward, check.headroom)]
            rewards[-1] += "" if check.margin is None else f" ± {100 * check.margin:.1f}"
            shares = [_percent(check.overlap), _percent(check.shared_mass)]
            pairs = [
                ", ".join(map(show, pair))
                for show, pair in (
                    (_one_place, (check.student_length, check.teacher_length)),
                    (_percent, (check.student_truncated, check.teacher_truncated)),
                    (_three_places, (check.student_entropy, check.teacher_entropy)),
                )
            ]
            rows.append(f"| {check.domain} | {check.kl:.3f} | {' | '.join([*shares, *rewards, *pairs])} |")
        lines = [f"refused: {line}" for line in self.refusals] + [f"warning: {line}" for line in self.warnings]
        return "\n".join([*rows, *([""] if lines else []), *lines])


def read_fingerprint(folder: str | Path) -> Fingerprint:
    """Take a checkpoint's fingerprint.

    Args:
        folder: checkpoint with a tokenizer.
    Returns:
        the fingerprint; two folders with the same one read and write the same tokens.
    Raises:
        CheckpointError: the folder is damaged or has no tokenizer.
    """
    config, tokenizer = Checkpoint.open(folder).config, Tokenizer.load(folder)
    chat = ChatFormat.load(folder, tokenizer, config.family)
    return Fingerprint(
        config.vocab_size,
        _digest([piece.hex() if piece is not None else "" for piece in _pieces(tokenizer)]),
        _digest(sorted(tokenizer.control_ids.items())),
        _digest([_render(chat, *probe) for probe in _PROBES]),
        tuple(find_eos_ids(folder, config, tokenizer)),
    )


def find_conflicts(student: str | Path, teacher: str | Path) -> list[str]:
    """Find what keeps a teacher from reading what the student writes.

    Args:
        student, teacher: checkpoint folders.
    Returns:
        one line for each conflict, with the first example of it; nothing if they speak the same tokens.
    Raises:
        CheckpointError: a folder is damaged or has no tokenizer.
    """
    ours, theirs = read_fingerprint(student), read_fingerprint(teacher)
    if ours == theirs:
        return []
    found = []
    if ours.num_ids != theirs.num_ids:
        found.append(f"{teacher} scores {theirs.num_ids} token ids, the student {ours.num_ids}")
    if ours.vocabulary != theirs.vocabulary:
        pairs = zip_longest(_pieces(Tokenizer.load(student)), _pieces(Tokenizer.load(teacher)))
        token_id, mine, other = next((i, mine, other) for i, (mine, other) in enumerate(pairs) if mine != other)
        found.append(f"{teacher} takes token id {token_id} for {other!r}, the student for {mine!r}")
    if ours.control != theirs.control:
        found.append(f"{teacher} has other control tokens")
    if ours.template != theirs.template:
        found.append(f"{teacher} has a chat template that writes conversations in another way")
    if ours.eos_ids != theirs.eos_ids:
        found.append(f"{teacher} ends replies with token ids {theirs.eos_ids}, the student with {ours.eos_ids}")
    return found


@torch.no_grad()
def check_domain(
    domain: str,
    student_RV: Tensor,
    teacher_RV: Tensor,
    student: Played | None = None,
    teacher: Played | None = None,
    is_self: bool = False,
) -> DomainCheck:
    """Compare both models' opinions on tokens that the student wrote.

    Args:
        domain: its name.
        student_RV, teacher_RV: logits for each of these tokens.
        student, teacher: how both do the domain's tasks, if known.
        is_self: the teacher is the student itself.
    Returns:
        the comparison.
    """
    top = min(TOP, student_RV.shape[-1])
    likely_RK, theirs_RK = student_RV.topk(top).indices, teacher_RV.topk(top).indices
    overlap = (likely_RK[:, :, None] == theirs_RK[:, None]).any(-1).float().mean().item()
    theirs, ours = (logits_RV.softmax(-1).gather(1, likely_RK).sum().item() for logits_RV in (teacher_RV, student_RV))
    return DomainCheck(
        domain,
        len(student_RV),
        reverse_kl(student_RV, teacher_RV).mean().item(),
        overlap,
        theirs / ours,
        student and student.reward,
        teacher and teacher.reward,
        is_self,
        student and student.length,
        teacher and teacher.length,
        student and student.truncated,
        teacher and teacher.truncated,
        _entropy(student_RV),
        _entropy(teacher_RV),
        student.count if student and teacher else 0,
        _margin(student, teacher),
    )


def _margin(student: Played | None, teacher: Played | None) -> float | None:
    """Half of the 95% interval of the difference of two mean rewards."""
    spreads = [played.spread for played in (student, teacher) if played and played.spread is not None]
    return 1.96 * hypot(*spreads) if len(spreads) == 2 else None


def find_other_texts(server: str, tokenizer: Tokenizer, ids: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Compare what a server takes token ids for with what the student means by them.

    Args:
        server: its name, for people.
        tokenizer: the student's.
        ids: token ids.
        texts: the server's text of each.
    Returns:
        one line if they differ, with the first example. Tokens that are parts of a character are passed over: servers
        write them in different ways.
    """
    for token_id, text in zip(ids, texts, strict=True):
        mine = tokenizer.decode([token_id])
        if "\ufffd" not in mine and mine != text:
            return [f"{server} takes token id {token_id} for {text!r}, the student for {mine!r}"]
    return []


def _pieces(tokenizer: Tokenizer) -> list[bytes | None]:
    """Bytes of every id; None for an id that no token has."""

    def piece(token_id: int) -> bytes | None:
        try:
            return tokenizer.token_bytes(token_id)
        except RequestError:
            return None

    return [piece(token_id) for token_id in range(tokenizer.vocab_size)]


def _render(chat: ChatFormat, messages: Sequence[Message], tools: Sequence[dict], is_prompt: bool) -> str:
    try:
        return chat.render(messages, tools, add_generation_prompt=is_prompt)
    except RequestError:
        return "(refused)"


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def _entropy(logits_RV: Tensor) -> float:
    scores_RV = logits_RV.log_softmax(-1)
    return -(scores_RV.exp() * scores_RV).sum(-1).mean().item()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _one_place(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _three_places(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
