"""Rewards and tools of all environments: a quota of warm workers for each, replaced when they hang or die.

A judge is asked with all replies of an episode so far and plays it again from its start. So it remembers nothing, any
worker can take over from any other, and asking twice gives the same answer.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from openmimo.chat import Message
from openmimo.cluster.actors import Warm, here, import_from, is_lost, reason, start_actor, warm_up
from openmimo.environments import Environment, Episode, Task
from openmimo.errors import ConfigError, TrainingError

__all__ = ["JudgedElsewhere", "Place", "Toolbox", "Verdict"]

MAX_TRIES = 3
"""Workers that one judgement may cost."""
MAX_ASKED = 10_000


@dataclass(frozen=True)
class Verdict:
    """An environment's answer to the replies of an episode.

    Attributes:
        results: tool results to go on from; none if the episode is over.
        reward: of the episode as it stands.
        passed: tests that it passes, where the environment tells.
    """

    results: tuple[Message, ...]
    reward: float
    passed: tuple[bool, ...]


class ToolWorker:
    """The actor: one environment."""

    def __init__(self, folders: Sequence[str], boxed: Sequence[Any]):
        import_from(folders)
        self._environment: Environment = ray.get(boxed[0])  # unpacked only now that its module can be found

    def ready(self) -> None:
        """Answer once the worker is warm."""

    def judge(self, task: Task, replies: Sequence[Message]) -> Verdict:
        """Play an episode from its start."""
        episode, results = self._environment.start(task), []
        for reply in replies:
            results = episode.step(reply)
        return Verdict(tuple(results), episode.reward(), tuple(getattr(episode, "passed", ())))


class ToolDesk:
    """The actor that all players ask: gives each question to a worker that has nothing to do."""

    def __init__(self, folders: Sequence[str], count: int, timeout_s: float):
        import_from(folders)
        self._count, self._timeout_s = count, timeout_s
        self._boxed: dict[int, Sequence[Any]] = {}
        self._idle: dict[int, asyncio.Queue[Warm]] = {}
        self._restarts = 0

    async def add(self, number: int, boxed: Sequence[Any]) -> None:
        """Warm up the workers of an environment."""
        self._boxed[number], idle = boxed, asyncio.Queue()
        workers = [self._hire(number) for _ in range(self._count)]
        for worker in workers:
            await worker.ready
            idle.put_nowait(worker)
        self._idle[number] = idle

    async def judge(self, number: int, task: Task, replies: Sequence[Message]) -> Verdict:
        """Ask a worker, and another one if that hangs or dies."""
        idle, problem = self._idle[number], ""
        for _ in range(MAX_TRIES):
            worker = await idle.get()
            try:
                await worker.ready
                return await asyncio.wait_for(_answer(worker.actor.judge.remote(task, replies)), self._timeout_s)
            except TimeoutError:
                problem = f"did not answer within {self._timeout_s:g} s"
                worker = self._replace(number, worker)
            except Exception as error:
                if not is_lost(error):
                    raise
                problem = "died"
                worker = self._replace(number, worker)
            finally:
                idle.put_nowait(worker)
        raise TrainingError(f"{MAX_TRIES} workers in a row {problem} when they judged task {task.id} ({task.kind})")

    async def restarts(self) -> int:
        """How many workers were replaced."""
        return self._restarts

    def _hire(self, number: int) -> Warm:
        return warm_up(ToolWorker, self._boxed[number])

    def _replace(self, number: int, worker: Warm) -> Warm:
        self._restarts += 1
        ray.kill(worker.actor)
        return self._hire(number)


async def _answer(ref: Any) -> Verdict:
    return await ref


@dataclass(frozen=True)
class Place:
    """Where an environment is judged.

    Attributes:
        desk: the toolbox's actor.
        number: of the environment there.
        boxed: a reference to the environment itself, boxed so that Ray does not follow it.
    """

    desk: Any
    number: int
    boxed: tuple[Any, ...]


class JudgedElsewhere:
    """An environment for players: an episode begins here, and the toolbox plays it on.

    Args:
        environment: the real one.
        place: where it is judged.
    Attributes:
        name: the environment's.
    """

    def __init__(self, environment: Environment, place: Place):
        self.name, self._environment, self._place = environment.name, environment, place

    def start(self, task: Task) -> "_Judged":
        """Begin an attempt."""
        return _Judged(self._environment.start(task), task, self._place)


class _Judged:
    """An episode whose replies the toolbox answers."""

    def __init__(self, episode: Episode, task: Task, place: Place):
        self.messages, self.tools = episode.messages, episode.tools
        self._task, self._place = task, place
        self._replies: list[Message] = []
        self._verdict: Verdict | None = None

    def step(self, reply: Message) -> list[Message]:
        self._replies.append(reply)
        self._verdict = self._ask()
        return list(self._verdict.results)

    def reward(self) -> float:
        return self._last.reward

    @property
    def passed(self) -> tuple[bool, ...]:
        return self._last.passed

    @property
    def _last(self) -> Verdict:
        if self._verdict is None:
            self._verdict = self._ask()
        return self._verdict

    def _ask(self) -> Verdict:
        return ray.get(self._place.desk.judge.remote(self._place.number, self._task, tuple(self._replies)))


class Toolbox:
    """The toolbox as the learner sees it. Its desk runs on the learner's node.

    Args:
        count: warm workers for each environment.
        timeout_s: seconds for one judgement.
    """

    def __init__(self, count: int, timeout_s: float):
        self._desk = start_actor(ToolDesk, count, timeout_s, spot=here(), max_concurrency=MAX_ASKED)
        self._places: dict[int, tuple[Environment, Place]] = {}

    def place_of(self, environment: Environment) -> Place:
        """Where an environment is judged; its workers are warmed up when it is first asked for.

        Args:
            environment: it must be possible to send it.
        Returns:
            the place.
        Raises:
            ConfigError: it cannot be sent, or not be made elsewhere.
        """
        known = self._places.get(id(environment))
        if known is not None:
            return known[1]
        try:
            place = Place(self._desk, len(self._places), (ray.put(environment),))
            ray.get(self._desk.add.remote(place.number, place.boxed))
        except Exception as error:
            problem = str(reason(error)).splitlines()[0]
            raise ConfigError(
                f"the environment {environment.name!r} cannot work elsewhere: {problem}. All nodes must be able to "
                "import what the recipe does, and an environment may hold nothing that cannot be sent, such as a lock"
            ) from error
        self._places[id(environment)] = environment, place
        return place

    @property
    def restarts(self) -> int:
        """Workers that were replaced so far."""
        return ray.get(self._desk.restarts.remote())

    def close(self) -> None:
        """End all workers."""
        ray.kill(self._desk)
