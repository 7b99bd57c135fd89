"""Rollouts by many engines, each in an actor; whoever dies, its episodes are played again elsewhere, seeds and all."""

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import ray
from ray import ObjectRef
from ray.exceptions import GetTimeoutError

from openmimo.cluster.actors import Spot, import_from, is_lost, reason, start_actor
from openmimo.cluster.toolbox import JudgedElsewhere, Place, Toolbox
from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.environments import Environment, Task
from openmimo.errors import OpenMiMoError, RequestError, TrainingError
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.rollout import Attempt, EngineAttempt, Rollout, play_episode, seeded

__all__ = ["RayAttempt", "RayPlayers"]

CHECKS = 4
"""Looks at every player in the time after which one that finishes nothing is replaced."""

MAX_DEATHS = 3
"""Deaths of players without a finished episode between them, for each player, after which the run is given up."""


class RayAttempt(Attempt):
    """An attempt that some actor plays.

    Args:
        number: names it, wherever it is played.
        errand: what the actor has to know.
        cancel: called once if nobody wants the result any more.
    Attributes:
        promise: the future, done once, however often the attempt had to be started again.
    """

    def __init__(self, number: int, errand: tuple[Any, ...], cancel: Callable[["RayAttempt"], None]):
        super().__init__()
        self.promise: Future[Rollout | None] = Future()
        self.future = self.promise
        self.number, self.errand, self._cancel = number, errand, cancel

    def cancel(self) -> None:
        """As `Attempt.cancel`."""
        if self.promise.cancel():
            self._cancel(self)


class Player:
    """The actor: an engine and the episodes that it plays."""

    def __init__(self, folders: Sequence[str], plan: EnginePlan, tensors: Mapping[str, np.ndarray], threads: int):
        import_from(folders)
        self._engine = plan.open(tensors, threads)
        self._max_replies = plan.max_replies
        self._attempts: dict[int, EngineAttempt] = {}
        self._environments: dict[int, Environment] = {}

    def play(self, number: int, place: Place, task: Task, params: SamplingParams) -> tuple[Rollout | None, float]:
        """Play an episode; what comes of it, and how long the engine worked on it."""
        assert self._engine.chat is not None
        if place.number not in self._environments:
            self._environments[place.number] = ray.get(place.boxed[0])
        judge: Any = JudgedElsewhere(self._environments[place.number], place)
        attempt = self._attempts[number] = EngineAttempt(self._engine)
        try:
            rollout = play_episode(attempt, judge, task, self._engine.chat, params, self._max_replies)
        finally:
            del self._attempts[number]
        return rollout, attempt.busy_s

    def cancel(self, number: int) -> None:
        """Give an episode up."""
        attempt = self._attempts.get(number)
        if attempt is not None:
            attempt.cancel()

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Play with other weights from here on."""
        self._engine.update(tensors)


class _Worker:
    """A player as the learner sees it."""

    def __init__(self, actor: Any, spot: Spot):
        self.actor, self.spot = actor, spot
        self.playing: set[RayAttempt] = set()
        self.heard_s = time.monotonic()  # of an episode that began while none ran, or ended


class RayPlayers:
    """Players on a cluster, as `Players` of `openmimo.train.workplace`. One thread has all to do with them.

    Args:
        plan: of each engine.
        tensors: first weights.
        spots: one for each engine.
        toolbox: judges the episodes.
        timeout_s: seconds in which a player must end an episode while it has any, or take over weights; one that does
            not is replaced.
    Attributes:
        params: how to sample; they hold for attempts that are started from then on.
        attempts: all that were started; those that are of no more interest may be removed.
        engines: how many play side by side.
        deaths: of players, so far.
        actors: handles of the players.
    Raises:
        RequestError: there is no tokenizer.
    """

    def __init__(
        self,
        plan: EnginePlan,
        tensors: Mapping[str, np.ndarray],
        spots: Sequence[Spot],
        toolbox: Toolbox,
        timeout_s: float,
    ):
        if "tokenizer.json" not in plan.files:
            raise RequestError("this checkpoint has no tokenizer.json, so it cannot chat: roll out with one that has")
        self.params = SamplingParams()
        self.attempts: list[Attempt] = []
        self.engines = len(spots)
        self.deaths = 0
        self._plan, self._toolbox, self._timeout_s = plan, toolbox, timeout_s
        self._room = 2 * plan.slots  # an engine always has one waiting where another ends
        self._weights = ray.put(dict(tensors))
        self._workers = [self._hire(spot) for spot in spots]
        self._waiting: deque[RayAttempt] = deque()
        self._deaths_in_a_row = self._num_started = 0
        self._engine: Engine | None = None
        self._failure: OpenMiMoError | None = None
        self._finished: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="openmimo-cluster", daemon=True)
        self._thread.start()

    @property
    def actors(self) -> list[Any]:
        """Handles of the players."""
        return [worker.actor for worker in self._workers]

    def start(self, environment: Environment, task: Task, sample: int) -> RayAttempt:
        """Begin an attempt, as `RolloutPool.start` does."""
        self._num_started += 1
        errand = (self._toolbox.place_of(environment), task, seeded(self.params, task, sample))
        attempt = RayAttempt(self._num_started, errand, lambda attempt: self._inbox.put(partial(self._stop, attempt)))
        attempt.promise.add_done_callback(lambda _: self._finished.put(attempt))
        self.attempts.append(attempt)
        self._inbox.put(partial(self._enqueue, attempt))
        return attempt

    def next_finished(self) -> Attempt:
        """Wait for the attempt that ends next; each one is given out once."""
        return self._finished.get()

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Send weights to all players, and wait until they have them. A node gets them once.

        Args:
            tensors: as `Engine.update`.
        Raises:
            CheckpointError: as `Engine.update`.
            TrainingError: the cluster failed.
        """
        done: Future[None] = Future()
        self._inbox.put(partial(self._update, ray.put(dict(tensors)), done))
        done.result()

    def engine_here(self, tensors: Mapping[str, np.ndarray]) -> Engine:
        """An engine of the learner's own process, opened when it is first asked for."""
        if self._engine is None:
            self._engine = self._plan.open(tensors, self._workers[0].spot.threads)
        self._engine.update(tensors)
        return self._engine

    def close(self) -> None:
        """Give up what still runs, and end the players."""
        self._inbox.put(None)
        self._thread.join()
        for attempt in self.attempts:
            if attempt.future is not None:
                attempt.future.cancel()
        for worker in self._workers:
            ray.kill(worker.actor)
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> "RayPlayers":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    # What follows runs on the one thread.

    def _run(self) -> None:
        watched_s = time.monotonic()
        while True:
            try:
                if (job := self._inbox.get(timeout=self._timeout_s / CHECKS)) is None:
                    return
                job()
            except queue.Empty:
                pass
            except Exception as error:
                self._give_up(reason(error))
            if time.monotonic() - watched_s > self._timeout_s / CHECKS:
                watched_s = time.monotonic()
                self._end_hung()

    def _end_hung(self) -> None:
        """Kill players that play and finish nothing; their episodes then fail as those of any dead one."""
        for worker in self._workers:
            if worker.playing and time.monotonic() - worker.heard_s > self._timeout_s:
                print(f"a player has finished no episode for {self._timeout_s:g} s: it is ended", file=sys.stderr)
                worker.heard_s = time.monotonic()
                ray.kill(worker.actor)

    def _hire(self, spot: Spot) -> _Worker:
        options = {"max_concurrency": self._room, "concurrency_groups": {"control": 2}}
        return _Worker(start_actor(Player, self._plan, self._weights, spot.threads, spot=spot, **options), spot)

    def _enqueue(self, attempt: RayAttempt) -> None:
        self._waiting.append(attempt)
        self._dispatch()

    def _dispatch(self) -> None:
        """Send waiting attempts to whoever has least to do."""
        while self._waiting:
            worker = min(self._workers, key=lambda one: len(one.playing))
            if self._failure is None and len(worker.playing) >= self._room:
                return
            attempt = self._waiting.popleft()
            if self._failure is not None:
                _fail(attempt, self._failure)
            elif not attempt.is_done:
                self._send(attempt, worker)

    def _send(self, attempt: RayAttempt, worker: _Worker) -> None:
        if not worker.playing:
            worker.heard_s = time.monotonic()
        worker.playing.add(attempt)
        played = worker.actor.play.remote(attempt.number, *attempt.errand).future()
        played.add_done_callback(lambda future: self._inbox.put(partial(self._end, attempt, worker, future)))

    def _end(self, attempt: RayAttempt, worker: _Worker, played: "Future[tuple[Rollout | None, float]]") -> None:
        worker.playing.discard(attempt)
        worker.heard_s = time.monotonic()
        error = played.exception()
        if is_lost(error):
            self._replace(worker, error)
            self._waiting.appendleft(attempt)  # the same task and seed again: as if nothing had happened
        elif error is not None:
            _fail(attempt, reason(error))
        else:
            rollout, attempt.busy_s = played.result()
            self._deaths_in_a_row = 0
            if attempt.promise.set_running_or_notify_cancel():  # somebody still wants it
                attempt.promise.set_result(rollout)
        self._dispatch()

    def _replace(self, worker: _Worker, error: BaseException | None) -> None:
        """A new player for a dead one; each of its attempts reports the death."""
        if worker not in self._workers:
            return
        self.deaths += 1
        self._deaths_in_a_row += 1
        print(f"a player died: its {len(worker.playing)} episodes are played again elsewhere", file=sys.stderr)
        ray.kill(worker.actor)
        self._workers.remove(worker)
        self._workers.append(self._hire(worker.spot))
        if self._deaths_in_a_row > MAX_DEATHS * self.engines:
            self._give_up(
                TrainingError(
                    f"{self._deaths_in_a_row} players died and no episode was finished: {error}. Look at the nodes' "
                    "memory, and start the run again to go on"
                )
            )

    def _give_up(self, failure: OpenMiMoError) -> None:
        """Nobody shall wait for ever."""
        self._failure = failure
        for attempt in [*self._waiting, *(attempt for worker in self._workers for attempt in worker.playing)]:
            _fail(attempt, failure)
        self._waiting.clear()

    def _stop(self, attempt: RayAttempt) -> None:
        for worker in self._workers:
            if attempt in worker.playing:
                worker.actor.cancel.options(concurrency_group="control").remote(attempt.number)

    def _update(self, weights: ObjectRef, done: "Future[None]") -> None:
        if self._failure is not None:
            done.set_exception(self._failure)
            return
        self._weights = weights
        sent = [
            (worker, worker.actor.update.options(concurrency_group="control").remote(weights))
            for worker in self._workers
        ]
        for worker, ref in sent:
            try:
                ray.get(ref, timeout=self._timeout_s)
            except Exception as error:
                if not is_lost(error) and not isinstance(error, GetTimeoutError):
                    done.set_exception(reason(error))
                    return
                self._replace(worker, error)  # the new one begins with the new weights
        done.set_result(None)


def _fail(attempt: RayAttempt, failure: OpenMiMoError) -> None:
    if not attempt.is_done and attempt.promise.set_running_or_notify_cancel():
        attempt.promise.set_exception(failure)
