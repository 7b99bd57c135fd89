"""Logs of episodes: one JSON line for each message, and playing them again to see whether the world still answers so.

A log holds any number of episodes. Each begins with a head, goes on with messages in the OpenAI shape, and ends with
what it scored:

    {"episode": {"environment": "home", "split": "eval", "seed": 3, "index": 0, "task": "5f0c...", "kind": "named"}}
    {"role": "system", "content": "You control a home. ..."}
    {"role": "user", "content": "lock the back door"}
    {"role": "assistant", "content": null, "tool_calls": [...]}
    {"role": "tool", "content": "{\"success\": ...}", "tool_call_id": "call_0"}
    {"role": "assistant", "content": "The back door is locked."}
    {"reward": 1.0}
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from openmimo.environments import Environment, Split, Task, environment_names, make_environment
from openmimo.errors import RequestError
from openmimo.messages import Message, json_object, message_from_openai

__all__ = ["EpisodeHead", "LoggedEpisode", "Replay", "Replayer", "append_episode", "draw_task", "read_episodes"]

SPLITS = ("train", "eval")
MAX_INDEX = 1_000_000


@dataclass(frozen=True)
class EpisodeHead:
    """Which task an episode was about.

    Attributes:
        environment: a registered name.
        split, seed: as in `Environment.tasks`.
        index: the task's place among those drawn, from 0.
        task: the task's id, so that a generator that has changed is noticed.
        kind: the task's kind.
        phrasings: as in `Environment.tasks`; None is the split's own.
        count: how many tasks were drawn with it, since some environments draw them in groups; None is up to this one.
        sample: which attempt at temperature 1, from 0; None for one that was played greedily or by hand.
    """

    environment: str
    split: str
    seed: int
    index: int
    task: str
    kind: str
    phrasings: str | None = None
    count: int | None = None
    sample: int | None = None


@dataclass(frozen=True)
class LoggedEpisode:
    """One episode of a log.

    Attributes:
        head: which task.
        messages: all of them, in order.
        reward: what it scored, or None where the log breaks off.
    """

    head: EpisodeHead
    messages: tuple[Message, ...]
    reward: float | None


@dataclass
class Replay:
    """What came of playing an episode again.

    Attributes:
        reward: what it scores now, or None where it could not be played.
        differences: what is not as in the log, in words; empty when all is.
    """

    reward: float | None = None
    differences: list[str] = field(default_factory=list)


def draw_task(environment: str, split: str, seed: int, index: int = 0) -> tuple[Environment, Task]:
    """Draw one task of an environment.

    Args:
        environment: a registered name.
        split: "train" or "eval".
        seed: which tasks.
        index: which of them, from 0.
    Returns:
        The environment and the task.
    Raises:
        RequestError: there is no such environment, split or task.
    """
    stream = _Stream(EpisodeHead(environment, split, seed, index, "", ""))
    return stream.environment, stream.task(index)


class _Stream:
    """The tasks that one of them was drawn with, each drawn once it is asked for."""

    def __init__(self, head: EpisodeHead):
        _check(head)
        self.head = head
        self.environment = make_environment(head.environment)
        count = head.index + 1 if head.count is None else head.count
        phrasings = None if head.phrasings is None else _split(head.phrasings)
        self._coming = iter(self.environment.tasks(_split(head.split), head.seed, count, phrasings))
        self._drawn: list[Task] = []

    def has(self, head: EpisodeHead) -> bool:
        """Whether this stream holds the task of a head; where it does not say how many were drawn, it may not."""
        return head.count is not None and _stream_of(head) == _stream_of(self.head)

    def task(self, index: int) -> Task:
        self._drawn += islice(self._coming, max(0, index + 1 - len(self._drawn)))
        if index >= len(self._drawn):
            head = self.head
            raise RequestError(f"{head.environment} has no task {index} of split {head.split} and seed {head.seed}")
        return self._drawn[index]


def _stream_of(head: EpisodeHead) -> EpisodeHead:
    return replace(head, index=0, task="", kind="", sample=None)


def _check(head: EpisodeHead) -> None:
    if head.environment not in environment_names():
        known = ", ".join(environment_names())
        raise RequestError(f"there is no environment {head.environment!r}: choose from {known}")
    for split in (head.split, head.phrasings or head.split):
        if split not in SPLITS:
            raise RequestError(f"there is no split {split!r}: choose from {', '.join(SPLITS)}")
    if not 0 <= head.index <= MAX_INDEX:
        raise RequestError(f"index {head.index} of a task must be 0 to {MAX_INDEX}")
    if head.count is not None and not head.index < head.count <= MAX_INDEX + 1:
        raise RequestError(f"count {head.count} must be more than the index, and {MAX_INDEX + 1} at most")


def _split(name: str) -> Split:
    return "eval" if name == "eval" else "train"


def append_episode(path: Path, head: EpisodeHead, messages: Sequence[Message], reward: float) -> None:
    """Write an episode at the end of a log, which is made if need be.

    Args:
        path: the log.
        head: which task.
        messages: all of them, the prompt first.
        reward: what it scored.
    Raises:
        RequestError: the file cannot be written.
    """
    told = {name: value for name, value in asdict(head).items() if value is not None}
    entries = [{"episode": told}, *(message.to_openai() for message in messages), {"reward": reward}]
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error.strerror}") from error


def read_episodes(path: Path) -> Iterator[LoggedEpisode]:
    """Read a log.

    Args:
        path: the log.
    Yields:
        Its episodes, in order.
    Raises:
        RequestError: there is no such file, or a line is not what may stand there; the message names the line.
    """
    head: EpisodeHead | None = None
    messages: list[Message] = []
    for number, entry in _entries(path):
        if "episode" in entry:
            if head is not None:
                yield LoggedEpisode(head, tuple(messages), None)
            head, messages = _head(path, number, entry["episode"]), []
        elif head is None:
            raise RequestError(f'{path}, line {number}: an episode must begin with {{"episode": ...}}')
        elif "reward" in entry:
            yield LoggedEpisode(head, tuple(messages), _reward(path, number, entry["reward"]))
            head = None
        else:
            messages.append(_message(path, number, entry))
    if head is not None:
        yield LoggedEpisode(head, tuple(messages), None)


class Replayer:
    """Plays logged episodes again. Those of one evaluation were drawn together, and are not drawn anew for each."""

    def __init__(self) -> None:
        self._stream: _Stream | None = None

    def play(self, logged: LoggedEpisode) -> Replay:
        """Play the assistant's messages of an episode again.

        Args:
            logged: from `read_episodes`.
        Returns:
            The reward now, and what the world does differently.
        Raises:
            RequestError: the environment is not known here.
        """
        head = logged.head
        if self._stream is None or not self._stream.has(head):
            self._stream = _Stream(head)
        _check(head)
        task = self._stream.task(head.index)
        if task.id != head.task:
            return Replay(None, [f"the task was {head.task}, here it is {task.id}: the generator of tasks has changed"])
        return _play(self._stream.environment, task, logged)


def _play(environment: Environment, task: Task, logged: LoggedEpisode) -> Replay:
    episode, found = environment.start(task), Replay()
    attempt = logged.messages[len(task.messages) :]
    told = [message.content for message in attempt if message.role == "tool"]
    now: list[str] = []
    for message in (message for message in attempt if message.role == "assistant"):
        results = episode.step(message)
        now += [result.content for result in results]
        if not results:
            break
    found.differences += [
        f"a tool said {before!r}, now {after!r}" for before, after in zip(told, now, strict=False) if before != after
    ]
    if len(told) != len(now):
        found.differences.append(f"the log has {len(told)} tool results, now there are {len(now)}")
    found.reward = episode.reward()
    if logged.reward is not None and found.reward != logged.reward:
        found.differences.append(f"the reward was {logged.reward:g}, now it is {found.reward:g}")
    return found


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines with their line numbers; empty lines are passed over."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _object(path, number, line)
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        return json_object(line)
    except ValueError as error:
        raise RequestError(f"{path}, line {number} must be a JSON object: {error}") from error


def _head(path: Path, number: int, entry: Any) -> EpisodeHead:
    needed = {"environment": str, "split": str, "seed": int, "index": int, "task": str, "kind": str}
    if not isinstance(entry, dict) or any(not isinstance(entry.get(name), kind) for name, kind in needed.items()):
        raise RequestError(f"{path}, line {number}: an episode needs {', '.join(needed)}")
    allowed = {"phrasings": str, "count": int, "sample": int}
    wrong = [name for name, kind in allowed.items() if not isinstance(entry.get(name), kind | None)]
    if wrong:
        raise RequestError(f"{path}, line {number}: {wrong[0]} must be {allowed[wrong[0]].__name__}, or left out")
    fields: dict[str, Any] = {name: entry.get(name) for name in (*needed, *allowed)}
    return EpisodeHead(**fields)


def _reward(path: Path, number: int, entry: Any) -> float:
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not 0 <= entry <= 1:
        raise RequestError(f"{path}, line {number}: a reward must be a number from 0 to 1")
    return float(entry)


def _message(path: Path, number: int, entry: dict[str, Any]) -> Message:
    try:
        return message_from_openai(entry)
    except RequestError as error:
        raise RequestError(f"{path}, line {number}: {error}") from error
