"""Rollouts: episodes that an engine plays, kept token by token as the trainer needs them.

What the model reads is never rendered twice: a reply stays the tokens that were sampled, and only what the template
writes after it is appended. So the log-probabilities are those of the very sequence that is trained on.
"""

import queue
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from types import TracebackType

import numpy as np

from openmimo.chat import ChatFormat, Message
from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Completion, Handle, Stats
from openmimo.environments import Environment, Task
from openmimo.errors import RequestError, TrainingError

__all__ = [
    "Attempt",
    "EngineAttempt",
    "Rollout",
    "RolloutPool",
    "percent_by_domain",
    "play_episode",
    "roll_out",
    "seeded",
]

MAX_REPLIES = 4
CONCURRENCY = 256
"""Episodes that are open at once; the engine runs as many of them as it has slots."""


@dataclass(frozen=True)
class Rollout:
    """One finished episode as the model read and wrote it.

    Attributes:
        domain: name of its environment: picks the teacher.
        kind: of the task.
        task_id: samples of one task share it.
        ids: prompt, replies and tool results in the order in which the model read them.
        is_own: True for tokens that the model wrote, its end-of-turn tokens included.
        logprobs: the sampler's log-probability of each own token (temperature 1, no filters); 0.0 elsewhere.
        routes_TLK: chosen experts, uint8 [len(ids) - 1, sparse layers, K]; None unless `SamplingParams.routes` asks.
        reward: 0.0 to 1.0.
        is_truncated: a reply was cut off, or the episode was not over after the last one.
        prompt_length: `ids[:prompt_length]` is what all samples of the task share.
        stats: what each reply cost the engine.
        passed: which of the task's tests it passes, where an environment's episodes tell; else empty.
    """

    domain: str
    kind: str
    task_id: str
    ids: list[int]
    is_own: list[bool]
    logprobs: list[float]
    routes_TLK: np.ndarray | None
    reward: float
    is_truncated: bool
    prompt_length: int
    stats: tuple[Stats, ...] = ()
    passed: tuple[bool, ...] = ()

    @property
    def num_own(self) -> int:
        """Tokens that the model wrote."""
        return sum(self.is_own)


def roll_out(
    engine: Engine,
    tasks: Sequence[tuple[Environment, Task]],
    samples: int,
    params: SamplingParams,
    max_replies: int = MAX_REPLIES,
) -> list[list[Rollout]]:
    """Play every task several times, all episodes at once.

    Args:
        engine: with a chat format.
        tasks: each with its environment.
        samples: attempts at each task.
        params: how to sample; attempts are seeded by `params.seed`, task and sample.
        max_replies: most replies in an episode.
    Returns:
        a group of attempts for each task, in order.
    Raises:
        RequestError: the engine's checkpoint has no chat format.
        OpenMiMoError: the engine failed.
    """
    with RolloutPool(engine, params, max_replies) as pool:
        groups = [[pool.start(environment, task, n) for n in range(samples)] for environment, task in tasks]
        return [[attempt.result() for attempt in group] for group in groups]


def percent_by_domain(groups: Iterable[Iterable[Rollout]]) -> dict[str, float]:
    """Mean reward of all attempts of each domain.

    Args:
        groups: of attempts, as `roll_out` returns them.
    Returns:
        percent, by name of the environment, in the order in which these first come.
    """
    rewards: dict[str, list[float]] = {}
    for rollout in chain.from_iterable(groups):
        rewards.setdefault(rollout.domain, []).append(rollout.reward)
    return {domain: 100 * sum(values) / len(values) for domain, values in rewards.items()}


class Attempt:
    """One episode on its way; the `start` of a pool makes it.

    Attributes:
        busy_s: how long the engine has worked on its replies.
    """

    def __init__(self):
        self.future: Future[Rollout | None] | None = None
        self.busy_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        return self.future is not None and self.future.done()

    def result(self) -> Rollout:
        """Wait for the episode; raises what it raised."""
        assert self.future is not None
        rollout = self.future.result()
        assert rollout is not None, "a cancelled attempt has no result"
        return rollout

    def cancel(self) -> None:
        """Give it up: nobody wants the result any more."""
        if self.future is not None:
            self.future.cancel()


class EngineAttempt(Attempt):
    """An attempt whose replies an engine of this process writes.

    Args:
        engine: with a chat format.
    """

    def __init__(self, engine: Engine):
        super().__init__()
        self._engine = engine
        self._handle: Handle | None = None
        self._is_cancelled = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Give it up as `Attempt.cancel` does; the engine ends its reply at the next step."""
        with self._lock:
            self._is_cancelled = True
            if self._handle is not None:
                self._engine.cancel(self._handle)
        super().cancel()

    def reply(self, ids: list[int], params: SamplingParams) -> Completion | None:
        """Let the engine write one reply; it goes on from its caches of the reply before, if they are still there.

        Args:
            ids: what it reads.
            params: how to sample.
        Returns:
            the reply, or None if nobody wants it any more.
        Raises:
            RequestError: the context has no room.
        """
        with self._lock:
            if self._is_cancelled:
                return None
            self._handle = self._engine.submit(ids, params, keep=True, after=self._handle)
        completion = self._handle.result()
        self.busy_s += completion.stats.prefill_s + completion.stats.decode_s
        return None if self._is_cancelled else completion


class RolloutPool:
    """Plays episodes on one engine. Environments work on its threads, so a slow reward holds up nothing else.

    Args:
        engine: with a chat format.
        params: how to sample.
        max_replies: most replies in an episode.
        concurrency: most episodes that are open at once.
    Attributes:
        params: may be replaced; they hold for attempts that are started from then on.
        attempts: all that were started; those that are of no more interest may be removed.
        engines: how many play side by side.
    Raises:
        RequestError: the engine's checkpoint has no chat format.
    """

    def __init__(
        self,
        engine: Engine,
        params: SamplingParams,
        max_replies: int = MAX_REPLIES,
        concurrency: int = CONCURRENCY,
    ):
        if engine.chat is None:
            raise RequestError("this checkpoint has no tokenizer.json, so it cannot chat: roll out with one that has")
        self._engine, self._chat, self._max_replies = engine, engine.chat, max_replies
        self.params = params
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="openmimo-rollout")
        self._finished: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self.attempts: list[Attempt] = []
        self.engines = 1

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Play with other weights from here on, as `Engine.update`."""
        self._engine.update(tensors)

    def engine_here(self, tensors: Mapping[str, np.ndarray]) -> Engine:
        """The engine, with other weights from here on."""
        self._engine.update(tensors)
        return self._engine

    def start(self, environment: Environment, task: Task, sample: int) -> Attempt:
        """Begin an attempt.

        Args:
            environment: that the task belongs to.
            task: the problem.
            sample: number of the attempt at it, which gives other random numbers.
        Returns:
            the attempt, running.
        """
        params, attempt = seeded(self.params, task, sample), EngineAttempt(self._engine)
        play = (attempt, environment, task, self._chat, params, self._max_replies)
        attempt.future = self._pool.submit(play_episode, *play)
        attempt.future.add_done_callback(lambda _: self._finished.put(attempt))
        self.attempts.append(attempt)
        return attempt

    def next_finished(self) -> Attempt:
        """Wait for the attempt that ends next; each one is given out once."""
        return self._finished.get()

    def close(self) -> None:
        """Give up what still runs, and wait for the threads."""
        for attempt in self.attempts:
            if not attempt.is_done:
                attempt.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "RolloutPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()


def seeded(params: SamplingParams, task: Task, sample: int) -> SamplingParams:
    """How to sample one attempt: the same wherever, whenever and beside whatever it is played.

    Args:
        params: of all attempts.
        task: the problem.
        sample: number of the attempt at it.
    Returns:
        the same with a seed of its own, and log-probabilities.
    """
    seed = zlib.crc32(f"{params.seed}-{task.id}-{sample}".encode())
    return replace(params, seed=seed, logprobs=max(1, params.logprobs))


def play_episode(
    attempt: EngineAttempt,
    environment: Environment,
    task: Task,
    chat: ChatFormat,
    params: SamplingParams,
    max_replies: int = MAX_REPLIES,
) -> Rollout | None:
    """Play one episode to its end.

    Args:
        attempt: has the engine, and can be cancelled from another thread.
        environment: that the task belongs to.
        task: the problem.
        chat: the checkpoint's format.
        params: how to sample, see `seeded`.
        max_replies: most replies.
    Returns:
        the episode, or None if nobody wants the result any more.
    Raises:
        OpenMiMoError: the engine or the environment failed.
    """
    return _Play(environment, task, chat, params, max_replies).run(attempt)


@dataclass
class _Play:
    """The playing of one episode."""

    environment: Environment
    task: Task
    chat: ChatFormat
    params: SamplingParams
    max_replies: int
    ids: list[int] = field(default_factory=list)
    is_own: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stats: list[Stats] = field(default_factory=list)
    routes: list[np.ndarray] = field(default_factory=list)

    def run(self, attempt: EngineAttempt) -> Rollout | None:
        """Play to the end; None if nobody wants the result any more."""
        episode = self.environment.start(self.task)
        messages = list(episode.messages)
        self._read(self.chat.encode(messages, episode.tools))
        prompt_length, is_truncated = len(self.ids), True
        for _ in range(self.max_replies):
            try:
                completion = attempt.reply(self.ids, self.params)
            except RequestError as error:
                if error.code != "context_length_exceeded":
                    raise
                break
            if completion is None:
                return None
            self._write(completion)
            parser = self.chat.parser(episode.tools)
            parser.feed(completion.text)
            parser.finish()
            results = episode.step(parser.message)
            if completion.finish_reason == "length":
                break
            if not results:
                is_truncated = False
                break
            turns = [*messages, parser.message]
            self._read(continuation(self.chat, turns, results, episode.tools, self.ids[-1]))
            messages = [*turns, *results]
        return Rollout(
            self.environment.name,
            self.task.kind,
            self.task.id,
            self.ids,
            self.is_own,
            self.logprobs,
            np.concatenate(self.routes) if self.routes else None,
            episode.reward(),
            is_truncated,
            prompt_length,
            tuple(self.stats),
            tuple(getattr(episode, "passed", ())),
        )

    def _read(self, ids: list[int]) -> None:
        self.ids += ids
        self.is_own += [False] * len(ids)
        self.logprobs += [0.0] * len(ids)

    def _write(self, completion: Completion) -> None:
        assert completion.logprobs is not None
        self.ids += completion.token_ids
        self.is_own += [True] * len(completion.token_ids)
        self.logprobs += [token.logprob for token in completion.logprobs]
        if completion.routes_TLK is not None:
            # Earlier turns were run again as a prompt; what their tokens were sampled from is the first run's choice.
            self.routes.append(completion.routes_TLK[sum(map(len, self.routes)) :])
        self.stats.append(completion.stats)


def continuation(
    chat: ChatFormat, turns: Sequence[Message], results: Sequence[Message], tools: Sequence[dict], end_id: int
) -> list[int]:
    """Tokens between the end of a reply and the beginning of the next one.

    Args:
        chat: the checkpoint's format.
        turns: the conversation up to the reply.
        results: what the environment answers.
        tools: offered tools.
        end_id: the token that ended the reply.
    Returns:
        what the template writes for the results, with the opening of the next turn.
    Raises:
        TrainingError: the template writes earlier turns in another way once more follow, so that what the model read
            cannot be continued.
    """
    before = chat.encode(turns, tools, add_generation_prompt=False)
    after = chat.encode([*turns, *results], tools)
    # Some templates write a line end after the end-of-turn token, which the model has not read yet.
    end = len(before) - before[::-1].index(end_id) if end_id in before else len(before)
    if after[:end] != before[:end]:
        raise TrainingError(
            "the chat template writes earlier turns in another way once tool results follow, so rollouts of several "
            "turns cannot be trained on: use a template that only appends"
        )
    return after[end:]
