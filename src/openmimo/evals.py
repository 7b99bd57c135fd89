"""Evaluation: environments played by an engine, scored by kind with confidence intervals."""

import math
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from openmimo.chat import Message
from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Completion
from openmimo.environments.base import Environment, Split, Task
from openmimo.environments.home import HomeEnvironment
from openmimo.errors import RequestError

__all__ = ["Played", "Score", "Scoreboard", "format_scores", "play", "score", "score_homes", "wilson"]


HOME_SETS: dict[str, Split] = {"new homes, known phrasings": "train", "new homes, held-out phrasings": "eval"}


@dataclass(frozen=True)
class Played:
    """One finished episode.

    Attributes:
        reward: 1.0 if the verifier is content, else less.
        replies: what the engine wrote, reply by reply.
        steps, new_tokens: engine steps and tokens, for the acceptance length.
    """

    task: Task
    reward: float
    replies: tuple[Message, ...]
    steps: int
    new_tokens: int


@dataclass
class Score:
    """Counts of one cell of the table."""

    right: float = 0.0
    total: int = 0
    wrong: list[Played] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Mean reward in percent."""
        return 100 * self.right / max(self.total, 1)

    def as_data(self) -> dict[str, float]:
        """Counts and percentage as plain data."""
        return {"right": self.right, "total": self.total, "percent": round(self.percent, 2)}


@dataclass(frozen=True)
class Scoreboard:
    """Scores of several sets of tasks.

    Attributes:
        cells: set name to kind to score; the kind "all" covers every task.
        acceptance_lengths: set name to mean tokens for each engine step.
    """

    cells: dict[str, dict[str, Score]]
    acceptance_lengths: dict[str, float]

    def as_data(self) -> dict[str, Any]:
        """The board as plain data for JSON."""
        scores = {name: {kind: s.as_data() for kind, s in cell.items()} for name, cell in self.cells.items()}
        return {"scores": scores, "acceptance_length": {k: round(v, 3) for k, v in self.acceptance_lengths.items()}}


def wilson(right: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """95% confidence interval of a share.

    Args:
        right: successes.
        total: trials, at least 1.
        z: normal quantile.
    Returns:
        lower and upper bound in [0, 1]; 8 of 10 gives about (0.49, 0.94).
    Source: Wilson score interval.
    """
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, (centre - spread) / (1 + z * z / total)), min(1.0, (centre + spread) / (1 + z * z / total))


def play(engine: Engine, environment: Environment, task: Task, params: SamplingParams, max_replies: int = 4) -> Played:
    """Let the engine play one task to its end.

    Args:
        engine: with a chat format.
        environment: that the task belongs to.
        task: the problem.
        params: how to sample.
        max_replies: the episode ends after that many replies.
    Returns:
        the outcome.
    Raises:
        RequestError: the engine's checkpoint has no chat format.
    """
    chat, episode = engine.chat, environment.start(task)
    if chat is None:
        raise RequestError("this checkpoint has no tokenizer.json, so it cannot chat: evaluate one that has")
    replies: list[Message] = []
    completions: list[Completion] = []
    messages = list(episode.messages)
    for _ in range(max_replies):
        completions.append(engine.generate(messages, params, episode.tools))
        parser = chat.parser(episode.tools)
        parser.feed(completions[-1].text)
        parser.finish()
        replies.append(parser.message)
        results = episode.step(parser.message)
        messages += [parser.message, *results]
        if not results:
            break
    steps = sum(completion.stats.steps for completion in completions)
    return Played(task, episode.reward(), tuple(replies), steps, sum(c.stats.new_tokens for c in completions))


def score(
    engine: Engine, environment: Environment, tasks: Iterable[Task], params: SamplingParams, concurrency: int = 4
) -> tuple[dict[str, Score], float]:
    """Play many tasks, several at once.

    Args:
        engine, environment, params: as for `play`.
        tasks: the problems.
        concurrency: episodes in flight.
    Returns:
        a score for each kind and one called "all", and the mean acceptance length (tokens for each engine step).
    """
    table: dict[str, Score] = defaultdict(Score)
    steps = tokens = 0
    with ThreadPoolExecutor(concurrency) as pool:
        for played in pool.map(lambda task: play(engine, environment, task, params), tasks):
            steps, tokens = steps + played.steps, tokens + played.new_tokens
            for cell in (table[played.task.kind], table["all"]):
                cell.right += played.reward
                cell.total += 1
                if played.reward < 1:
                    cell.wrong.append(played)
    return dict(table), tokens / max(steps, 1)


def score_homes(engine: Engine, count: int, seed: int) -> Scoreboard:
    """The table of the model card: greedy play in held-out homes, with known and with held-out phrasings.

    Args:
        engine: with a chat format.
        count: tasks of each set.
        seed: which tasks are drawn.
    Returns:
        scores and acceptance length of each set.
    """
    environment, greedy = HomeEnvironment(), SamplingParams(temperature=0.0, max_new_tokens=192)
    cells, lengths = {}, {}
    for name, phrasings in HOME_SETS.items():
        tasks = environment.tasks("eval", seed, count, phrasings)
        cells[name], lengths[name] = score(engine, environment, tasks, greedy)
    return Scoreboard(cells, lengths)


def format_scores(board: Scoreboard) -> str:
    """A Markdown table: one row for each kind, one column for each named set of tasks.

    Args:
        board: what to show.
    Returns:
        text; every cell is "percent (low-high, n)" with the 95% interval, the last row holds the acceptance lengths.
    """
    cells = board.cells
    kinds = [*sorted({kind for scores in cells.values() for kind in scores} - {"all"}), "all"]
    lines = ["| kind | " + " | ".join(cells) + " |", "| --- |" + " ---: |" * len(cells)]
    for kind in kinds:
        row = [_cell(scores.get(kind)) for scores in cells.values()]
        lines.append(f"| {kind} | " + " | ".join(row) + " |")
    lengths = [f"{length:.2f}" for length in board.acceptance_lengths.values()]
    lines.append("| tokens for each engine step | " + " | ".join(lengths) + " |")
    return "\n".join(lines)


def _cell(score: Score | None) -> str:
    if score is None or not score.total:
        return "-"
    low, high = wilson(score.right, score.total)
    return f"{score.percent:.1f} ({100 * low:.0f}-{100 * high:.0f}, n {score.total})"
