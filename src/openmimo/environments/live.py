"""A world that several threads may use and whose clock may follow the real one: for the server and the terminal."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

__all__ = ["LiveWorld", "Turn"]

DAY_S = 86400.0

CallTool = Callable[[str, Mapping[str, Any]], dict[str, Any]]


class Turn(Protocol):
    """The calls of one reply."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the next call, as `LiveWorld.call`, unless it contradicts an earlier one."""
        ...


class LiveWorld(ABC):
    """A world behind a lock; every method may be called from any thread.

    Attributes:
        name: as in the registry of environments.
        asked_turns: how many user turns of a chat the model is shown, as many as its tasks in this world have.
        follows_up: whether its tasks may mean what was done before; else earlier turns are shown to an answer only.
    """

    name: ClassVar[str]
    asked_turns: ClassVar[int]
    follows_up: ClassVar[bool] = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Callable[[], float] | None = None
        self._seen_s = 0.0

    def follow(self, now: Callable[[], float] = time.monotonic) -> None:
        """Let time pass here as it does elsewhere, but only when somebody looks: nothing runs while nobody is there.

        Args:
            now: seconds of the clock to follow. After a long absence no more than a day has passed.
        """
        with self._lock:
            self._now, self._seen_s = now, now()

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: not negative, a day at most.
        Raises:
            ValueError: seconds is out of range.
        """
        if not 0 <= seconds <= DAY_S:
            raise ValueError(f"seconds={seconds} must be 0 to {DAY_S:g}: time moves forward, a day at most at once")
        with self._current():
            self._advance(seconds)

    def turn(self) -> CallTool:
        """Begin a reply of the model: gives what carries out its calls, unless one contradicts an earlier one."""
        with self._current():
            turn = self._turn(is_by_hand=False)

        def call(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
            with self._current():
                return turn.call(name, arguments)

        return call

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a tool call by hand.

        Args:
            name: of one of the `tools_by_hand`.
            arguments: of the call.
        Returns:
            `{"success": [...]}`, or `{"error": code, "message": text}` with nothing changed.
        """
        with self._current():
            return self._turn(is_by_hand=True).call(name, arguments)

    def system_content(self) -> str:
        """The system message for a chat about the world as it is now, as tasks have it."""
        with self._current():
            return self._system_content()

    def state(self) -> dict[str, Any]:
        """All that changes, JSON-able; `clock`, `clock_s`, `outside_c` and `cloud` in every world."""
        with self._current():
            return self._state()

    @abstractmethod
    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer to a model, in the OpenAI shape."""

    def tools_by_hand(self) -> list[dict[str, Any]]:
        """The tools that a person may use: those on offer, and in some worlds ones that no model has learnt."""
        return self.tools()

    @abstractmethod
    def drawing(self) -> dict[str, Any]:
        """All that a page needs to draw the world and that never changes, JSON-able."""

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Nobody else uses the world meanwhile, and it is as late in it as it should be."""
        with self._lock:
            if self._now is not None:
                now = self._now()
                passed_s, self._seen_s = min(DAY_S, max(0.0, now - self._seen_s)), now
                self._advance(passed_s)
            yield

    @abstractmethod
    def _advance(self, seconds: float) -> None: ...

    @abstractmethod
    def _system_content(self) -> str: ...

    @abstractmethod
    def _state(self) -> dict[str, Any]: ...

    @abstractmethod
    def _turn(self, is_by_hand: bool) -> Turn: ...
