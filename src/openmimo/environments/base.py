"""What every environment is made of: tasks, single-use episodes, and a registry by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from openmimo.chat import Message

__all__ = ["Environment", "Episode", "Split", "Task", "environment_names", "make_environment", "register"]

Split = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do, with everything a model may see and a reply that is right.

    Attributes:
        id: unique within the environment, the same for the same seed.
        kind: label for score tables.
        messages: system message, earlier turns, and the user's request last.
        tools: what is on offer, in the OpenAI shape.
        gold: the right continuation: assistant reply, tool results, and so on up to the last assistant reply.
    """

    id: str
    kind: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    gold: tuple[Message, ...]

    @property
    def system(self) -> str:
        """Content of the system message."""
        return self.messages[0].content

    @property
    def request(self) -> str:
        """What the user asks last."""
        return self.messages[-1].content


class Episode(Protocol):
    """One attempt at a task; used once."""

    messages: list[Message]
    tools: tuple[dict[str, Any], ...]

    def step(self, reply: Message) -> list[Message]:
        """Take the model's reply; return tool results to answer, or nothing when the episode is over."""
        ...

    def reward(self) -> float:
        """Score the episode as it stands, 0.0 to 1.0."""
        ...


class Environment(Protocol):
    """A source of tasks and the judge of attempts at them."""

    name: str

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[Any]:
        """Draw tasks; the same split and seed give the same ones.

        Args:
            split: "eval" has nothing in common with "train".
            seed: which tasks.
            count: how many.
            phrasings: phrasings of another split than the problems; None takes the same.
        Returns:
            the tasks, one after another.
        """
        ...

    def start(self, task: Any) -> Episode:
        """Begin an attempt."""
        ...

    def gold(self, task: Any) -> tuple[Message, ...]:
        """A continuation that scores 1.0."""
        ...


_FACTORIES: dict[str, Callable[[], Environment]] = {}


def register(name: str, factory: Callable[[], Environment]) -> None:
    """Make an environment known by name.

    Args:
        name: short lower-case name.
        factory: builds it.
    Raises:
        ValueError: the name is taken.
    """
    if name in _FACTORIES:
        raise ValueError(f"environment {name!r} is registered already: choose another name")
    _FACTORIES[name] = factory


def environment_names() -> tuple[str, ...]:
    """List what can be made.

    Returns:
        Names of all registered environments, sorted.
    """
    return tuple(sorted(_FACTORIES))


def make_environment(name: str) -> Environment:
    """Build an environment by name.

    Args:
        name: one of `environment_names()`.
    Returns:
        The environment.
    Raises:
        ValueError: no environment has that name.
    """
    if name not in _FACTORIES:
        raise ValueError(f"there is no environment {name!r}: choose from {', '.join(environment_names())}")
    return _FACTORIES[name]()
