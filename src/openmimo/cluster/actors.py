"""What all actors share: where they run, what they can import, and how their errors look to whoever asked."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from openmimo.errors import OpenMiMoError, TrainingError

__all__ = ["Spot", "Warm", "here", "import_from", "is_lost", "reason", "start_actor", "warm_up"]


@dataclass(frozen=True)
class Spot:
    """Where an engine runs.

    Attributes:
        node: id of the node; another one takes over if it is lost.
        threads: of the engine.
    """

    node: str
    threads: int


def here() -> Spot:
    """This process's node."""
    return Spot(ray.get_runtime_context().get_node_id(), 1)


def start_actor(kind: type, *args: Any, spot: Spot | None = None, **options: Any) -> Any:
    """Start an actor. It takes no CPU of Ray's account, since learner and players take turns on the same ones.

    Args:
        kind: its class.
        args: for its constructor, after the folders that this process imports from.
        spot: node to run on; None spreads actors over all.
        options: of Ray, such as `max_concurrency`.
    Returns:
        its handle.
    """
    strategy: Any = NodeAffinitySchedulingStrategy(spot.node, soft=True) if spot else "SPREAD"
    remote: Any = ray.remote(num_cpus=0, scheduling_strategy=strategy, **options)
    return remote(kind).remote(sys.path, *args)


@dataclass(frozen=True, eq=False)
class Warm:
    """A worker, and what is done when it is warm.

    Attributes:
        actor: its handle.
        ready: a reference to nothing, there once its constructor has ended.
    """

    actor: Any
    ready: Any


def warm_up(kind: type, *args: Any, **options: Any) -> Warm:
    """Start a worker that has a method `ready`, as `start_actor` does."""
    actor = start_actor(kind, *args, **options)
    return Warm(actor, actor.ready.remote())


def import_from(folders: Sequence[str]) -> None:
    """Let an actor import what the learner can, such as the modules beside a recipe."""
    sys.path += [folder for folder in folders if folder not in sys.path]


def is_lost(error: BaseException | None) -> bool:
    """Whether an error says that an actor or its answer is gone, and not that its work failed."""
    return isinstance(error, RayActorError | ObjectLostError) and not isinstance(error, RayTaskError)


def reason(error: BaseException) -> OpenMiMoError:
    """What an actor's error was before it travelled."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error if isinstance(error, OpenMiMoError) else TrainingError(f"a worker of the cluster failed: {error}")
