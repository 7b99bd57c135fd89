"""Teachers in actors: every checkpoint has workers of its own, and what a dead one was asked another one answers."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError

from openmimo.cluster.actors import Warm, import_from, is_lost, reason, warm_up
from openmimo.errors import TrainingError
from openmimo.train.policy import PolicyBatch
from openmimo.train.processes import CPU, rank_and_world, training_device
from openmimo.train.teachers import Opinion, Teachers

__all__ = ["RayScorers"]

MAX_TRIES = 3
"""Workers that one batch may cost."""


class Scorer:
    """The actor: one checkpoint, on the GPU that Ray gave it or the CPU."""

    def __init__(self, folders: Sequence[str], checkpoint: Path):
        import_from(folders)
        self._teachers = Teachers({"": checkpoint}, checkpoint)
        self._teachers.model("")

    def ready(self) -> None:
        """Answer once the checkpoint is read."""

    def score(self, batch: PolicyBatch, is_full: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """What the teacher thinks of a batch, as `Teachers.score`."""
        ((teacher_R, teacher_RV),) = self._teachers.score([("", batch.to(training_device()))], is_full)
        return teacher_R.cpu().numpy(), None if teacher_RV is None else teacher_RV.cpu().numpy()


class RayScorers:
    """Teachers on a cluster, as `Scorers` of `openmimo.train.workplace`. Their folders must be there on every node.

    Args:
        teachers: those that are checkpoints; servers are asked by the learner.
        count: workers for each checkpoint; each takes a GPU if the cluster has enough for all.
        timeout_s: seconds for one batch, beyond those for the batch before it.
    Attributes:
        workers: of each checkpoint.
        deaths: of workers, so far.
    """

    def __init__(self, teachers: Teachers, count: int, timeout_s: float):
        self._teachers, self._timeout_s = teachers, timeout_s
        wanted = count * len(teachers.checkpoints) * rank_and_world()[1]
        self._num_gpus = int(ray.cluster_resources().get("GPU", 0) >= wanted)
        self.deaths = 0
        self.workers = {folder: [self._hire(folder) for _ in range(count)] for folder in teachers.checkpoints}

    def score(self, asked: Sequence[tuple[str, PolicyBatch]], is_full: bool) -> Iterator[Opinion]:
        """Ask all at once, as `Scorers.score`.

        Raises:
            TrainingError: workers of a checkpoint die again and again, for instance since its folder is not there.
        """
        self._teachers.forget()  # the learner read them for the pre-flight report
        sent = []
        for number, (domain, batch) in enumerate(asked):
            workers = self.workers[self._teachers.folders[domain]]
            parcel = replace(batch, routes_BTLK=None).to(CPU)  # a teacher's tokens choose their own experts
            sent.append((domain, parcel, workers[number % len(workers)]))
        refs = [worker.actor.score.remote(parcel, is_full) for _, parcel, worker in sent]
        for (_, batch), (domain, parcel, worker), ref in zip(asked, sent, refs, strict=True):
            teacher_R, teacher_RV = self._answer(domain, parcel, is_full, worker, ref)
            like = batch.sampled_R
            yield like.new_tensor(teacher_R), None if teacher_RV is None else like.new_tensor(teacher_RV)

    def close(self) -> None:
        """End all workers."""
        for workers in self.workers.values():
            for worker in workers:
                ray.kill(worker.actor)

    def __enter__(self) -> "RayScorers":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def _hire(self, folder: Path) -> Warm:
        return warm_up(Scorer, folder, num_gpus=self._num_gpus)

    def _answer(
        self, domain: str, parcel: PolicyBatch, is_full: bool, worker: Warm, ref: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        problem: Exception | None = None
        for _ in range(MAX_TRIES):
            try:
                ray.get(worker.ready)  # reading a checkpoint may take what it takes
                return ray.get(ref, timeout=self._timeout_s)
            except Exception as error:
                if not (is_lost(error) or isinstance(error, GetTimeoutError)):
                    raise reason(error) from error
                problem = error
            worker = self._replace(self._teachers.folders[domain], worker)
            ref = worker.actor.score.remote(parcel, is_full)
        raise TrainingError(
            f"{MAX_TRIES} workers in a row failed as the teacher of {domain!r}: {problem}. Look at the nodes' memory, "
            "and start the run again to go on"
        )

    def _replace(self, folder: Path, dead: Warm) -> Warm:
        """Another worker: a new one, unless some other batch has reported this death already."""
        workers = self.workers[folder]
        if dead in workers:
            self.deaths += 1
            print(f"the teacher {folder} has lost a worker: another one is started", file=sys.stderr)
            ray.kill(dead.actor)
            workers[workers.index(dead)] = self._hire(folder)
        return workers[-1]
