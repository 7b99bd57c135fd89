"""A Ray cluster as the workplace of `train_rl` and `distil`."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import ray

from openmimo.cluster.actors import Spot
from openmimo.cluster.players import RayPlayers
from openmimo.cluster.scorers import RayScorers
from openmimo.cluster.toolbox import Toolbox
from openmimo.errors import ConfigError
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.processes import rank_and_world
from openmimo.train.teachers import Teachers

__all__ = ["RayCluster", "Sizes"]

LOCAL_STARTS = 3
"""Tries at a cluster of our own: Ray gives up after 30 seconds, and a busy machine takes longer at first."""


@dataclass(frozen=True)
class Sizes:
    """How much of a cluster is used.

    Attributes:
        players: engines; 0 for one on each node, with as many threads as the node has CPUs by Ray's account.
        player_timeout_s: seconds in which a player must end an episode while it has any; else it is replaced.
        tools: warm workers for each environment, which is also how many of its episodes are judged at once.
        tool_timeout_s: seconds for one judgement, after which its worker is replaced.
        teachers: workers for each checkpoint that teaches.
        teacher_timeout_s: seconds for one batch, after which its worker is replaced.
    """

    players: int = 0
    player_timeout_s: float = 1800.0
    tools: int = 4
    tool_timeout_s: float = 60.0
    teachers: int = 1
    teacher_timeout_s: float = 600.0


class RayCluster:
    """Where players, teachers and tools work; the learner stays in this process. It joins when first asked to.

    Args:
        address: "auto" for the cluster that this machine belongs to, "local" for one of its own, or HOST:PORT.
        sizes: how much of it to use.
    Attributes:
        players, scorers: those at work, for whoever watches.
        toolbox: judges the episodes of all players, so that its workers stay warm from one training to the next.
    """

    def __init__(self, address: str, sizes: Sizes | None = None):
        self._address, self._sizes = address, sizes or Sizes()
        self._is_ours = False
        self.players: RayPlayers | None = None
        self.scorers: RayScorers | None = None
        self.toolbox: Toolbox | None = None

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the tools and leave the cluster; one that was started here ends."""
        if self.toolbox is not None:
            self.toolbox.close()
            self.toolbox = None
        if self._is_ours:
            ray.shutdown()
            self._is_ours = False

    @contextmanager
    def open_players(
        self, plan: EnginePlan, tensors: Mapping[str, np.ndarray], share: tuple[int, int] = (0, 1)
    ) -> Iterator[RayPlayers]:
        """Open an engine on every node, or one process's share of them, as `Workplace.open_players`.

        Raises:
            ConfigError: as `join`.
        """
        toolbox, sizes = self.join(), self._sizes
        spots = self._spots(sizes.players, share)
        with RayPlayers(plan, tensors, spots, toolbox, sizes.player_timeout_s) as players:
            self.players = players
            yield players
        self.players = None

    @contextmanager
    def open_scorers(self, teachers: Teachers) -> Iterator[RayScorers]:
        """Open workers for every checkpoint, as `Workplace.open_scorers`; each of several learners has its own.

        Raises:
            ConfigError: as `join`, or several learners would each start a cluster.
        """
        if rank_and_world()[1] > 1 and self._address == "local":
            raise ConfigError(
                "several learners share a cluster that runs already: start one (ray start --head) and give 'auto' or "
                "its address instead of 'local'"
            )
        self.join()
        with RayScorers(teachers, self._sizes.teachers, self._sizes.teacher_timeout_s) as scorers:
            self.scorers = scorers
            yield scorers
        self.scorers = None

    def join(self) -> Toolbox:
        """Join the cluster, unless that is done.

        Returns:
            the toolbox.
        Raises:
            ConfigError: there is no such cluster.
        """
        if not ray.is_initialized():
            self._connect()
        if self.toolbox is None:
            self.toolbox = Toolbox(self._sizes.tools, self._sizes.tool_timeout_s)
        return self.toolbox

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here tells nobody
        for attempts_left in range(LOCAL_STARTS if self._address == "local" else 1, 0, -1):
            try:
                ray.init(self._address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
                break
            except Exception as error:  # a plain one, if a local cluster is slow to start
                ray.shutdown()
                if attempts_left == 1:
                    raise ConfigError(
                        f"no Ray cluster can be used at {self._address!r}: {error}. Start one (ray start --head) and "
                        "give its address, or 'auto'; 'local' starts one here"
                    ) from error
        self._is_ours = True

    def _spots(self, count: int, share: tuple[int, int]) -> list[Spot]:
        """A place for every engine of one of several processes, which have at least one each."""
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            raise ConfigError(f"the Ray cluster at {self._address!r} has no node with a CPU: add one")
        count = max(count or len(nodes), share[1])
        per_node = -(-count // len(nodes))
        chosen = [nodes[number % len(nodes)] for number in range(share[0], count, share[1])]
        return [Spot(node["NodeID"], max(1, int(node["Resources"]["CPU"]) // per_node)) for node in chosen]
