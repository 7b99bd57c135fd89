"""Teachers in actors: every checkpoint has workers of its own, and what a dead one was asked another one answers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import ray

from openmimo.cluster.actors import import_from, is_lost, reason, start_actor
from openmimo.errors import TrainingError
from openmimo.train.policy import PolicyBatch
from openmimo.train.processes import CPU, training_device
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

    def score(self, batch: PolicyBatch, is_full: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """What the teacher thinks of a batch, as `Teachers.score`."""
        ((teacher_R, teacher_RV),) = self._teachers.score([("", batch.to(training_device()))], is_full)
        return teacher_R.cpu().numpy(), None if teacher_RV is None else teacher_RV.cpu().numpy()


class RayScorers:
    """Teachers on a cluster, as `Scorers` of `openmimo.train.workplace`. Their folders must be there on every node.

    Args:
        teachers: those that are checkpoints; servers are asked by the learner.
        count: workers for each checkpoint; each takes a GPU if the cluster has enough for all.
    Attributes:
        actors: workers of each checkpoint.
        deaths: of workers, so far.
    """

    def __init__(self, teachers: Teachers, count: int):
        self._teachers = teachers
        has_gpus = ray.cluster_resources().get("GPU", 0) >= count * len(teachers.checkpoints)
        self._num_gpus = int(has_gpus and bool(teachers.checkpoints))
        self.deaths = 0
        self.actors = {folder: [self._hire(folder) for _ in range(count)] for folder in teachers.checkpoints}

    def score(self, asked: Sequence[tuple[str, PolicyBatch]], is_full: bool) -> Iterator[Opinion]:
        """Ask all at once, as `Scorers.score`.

        Raises:
            TrainingError: workers of a checkpoint die again and again.
            CheckpointError: its folder is damaged, or not there.
        """
        self._teachers.forget()  # the learner read them for the pre-flight report
        sent = []
        for number, (domain, batch) in enumerate(asked):
            actors = self.actors[self._teachers.folders[domain]]
            parcel = replace(batch, routes_BTLK=None).to(CPU)  # a teacher's tokens choose their own experts
            sent.append((domain, parcel, actors[number % len(actors)]))
        refs = [actor.score.remote(parcel, is_full) for _, parcel, actor in sent]
        for (_, batch), (domain, parcel, actor), ref in zip(asked, sent, refs, strict=True):
            teacher_R, teacher_RV = self._answer(domain, parcel, is_full, actor, ref)
            like = batch.sampled_R
            yield like.new_tensor(teacher_R), None if teacher_RV is None else like.new_tensor(teacher_RV)

    def close(self) -> None:
        """End all workers."""
        for actors in self.actors.values():
            for actor in actors:
                ray.kill(actor)

    def __enter__(self) -> "RayScorers":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def _hire(self, folder: Path) -> Any:
        return start_actor(Scorer, folder, num_gpus=self._num_gpus)

    def _answer(
        self, domain: str, parcel: PolicyBatch, is_full: bool, actor: Any, ref: Any
    ) -> tuple[np.ndarray, np.ndarray | None]:
        problem: Exception | None = None
        for _ in range(MAX_TRIES):
            try:
                return ray.get(ref)
            except Exception as error:
                if not is_lost(error):
                    raise reason(error) from error
                problem = error
            actor = self._replace(self._teachers.folders[domain], actor)
            ref = actor.score.remote(parcel, is_full)
        raise TrainingError(
            f"{MAX_TRIES} workers in a row died as the teacher of {domain!r}: {problem}. Look at the nodes' memory, "
            "and start the run again to go on"
        )

    def _replace(self, folder: Path, dead: Any) -> Any:
        """Another worker: a new one, unless some other batch has reported this death already."""
        actors = self.actors[folder]
        if dead in actors:
            self.deaths += 1
            ray.kill(dead)
            actors[actors.index(dead)] = self._hire(folder)
        return actors[-1]
