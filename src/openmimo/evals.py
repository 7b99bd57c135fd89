"""Evaluation: suites of held-out tasks played by an engine, scored by kind with confidence intervals."""

import json
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from openmimo.chat import Message
from openmimo.engine.engine import Engine
from openmimo.engine.params import MAX_TOP_LOGPROBS, SamplingParams
from openmimo.engine.request import Completion, TokenLogprob
from openmimo.environments import Environment, Split, Task, environment_names, make_environment
from openmimo.episodes import EpisodeHead, append_episode
from openmimo.errors import RequestError

__all__ = [
    "GREEDY",
    "SAMPLED",
    "Column",
    "Played",
    "Score",
    "Scoreboard",
    "format_scores",
    "pick_suites",
    "play",
    "score",
    "score_suite",
    "suite_names",
    "token_entropy",
    "wilson",
]

SUITES = ("home", "car", "energy", "maths", "programs", "recall")
PHRASINGS: dict[str, Split] = {"known phrasings": "train", "held-out phrasings": "eval"}
GREEDY = SamplingParams(temperature=0.0, max_new_tokens=384, logprobs=MAX_TOP_LOGPROBS)
SAMPLED = replace(GREEDY, temperature=1.0)
CONCURRENCY = 8
MAX_REPLIES = 4
INVENTED = ("unknown_tool", "unknown_parameter", "not_found")
"""Errors of tools that say that the model named something that it was not shown."""


@dataclass(frozen=True)
class Played:
    """One finished episode.

    Attributes:
        task: what was asked.
        reward: 1.0 if the verifier is content, else less.
        messages: the whole episode: prompt, replies, tool results.
        steps, new_tokens: engine steps and tokens, for the acceptance length.
        entropy: nats, summed over the tokens, see `token_entropy`.
        calls, invented: tool calls, and those that name a tool, parameter or entity that does not exist.
    """

    task: Task
    reward: float
    messages: tuple[Message, ...]
    steps: int
    new_tokens: int
    entropy: float
    calls: int
    invented: int

    @property
    def replies(self) -> tuple[Message, ...]:
        """What the engine wrote, reply by reply."""
        return tuple(message for message in self.messages[len(self.task.messages) :] if message.role == "assistant")


@dataclass
class Score:
    """One cell of the table.

    Attributes:
        rewards: of every task, the mean over its samples.
        wrong: episodes without full reward.
    """

    rewards: list[float] = field(default_factory=list)
    wrong: list[Played] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Mean reward in percent."""
        return 100 * sum(self.rewards) / max(len(self.rewards), 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of `percent`: Wilson's where every reward is 0 or 1, else the normal one."""
        total, mean = len(self.rewards), self.percent / 100
        if set(self.rewards) <= {0.0, 1.0}:
            low, high = wilson(sum(self.rewards), total)
        else:
            variance = sum((reward - mean) ** 2 for reward in self.rewards) / max(total - 1, 1)
            spread = 1.96 * math.sqrt(variance / total)
            low, high = max(0.0, mean - spread), min(1.0, mean + spread)
        return 100 * low, 100 * high

    def as_data(self) -> dict[str, Any]:
        """Number of tasks, percentage and interval as plain data."""
        low, high = self.interval
        return {"n": len(self.rewards), "percent": round(self.percent, 2), "low": round(low, 2), "high": round(high, 2)}


@dataclass(frozen=True)
class Column:
    """Scores of one set of tasks, played in one way.

    Attributes:
        scores: by kind; the kind "all" covers every task.
        acceptance_length: tokens for each engine step.
        entropy: mean nats a token, see `token_entropy`.
        calls: tool calls.
        invented: of these, how many named a tool, parameter or entity that does not exist.
    """

    scores: dict[str, Score]
    acceptance_length: float
    entropy: float
    calls: int
    invented: int

    def as_data(self) -> dict[str, Any]:
        """The column as plain data for JSON."""
        return {
            "scores": {kind: score.as_data() for kind, score in self.scores.items()},
            "acceptance_length": round(self.acceptance_length, 3),
            "entropy": round(self.entropy, 4),
            "calls": self.calls,
            "invented": self.invented,
        }


@dataclass(frozen=True)
class Scoreboard:
    """Scores of a suite.

    Attributes:
        suite: name of its environment.
        columns: by name.
    """

    suite: str
    columns: dict[str, Column]

    def as_data(self) -> dict[str, Any]:
        """The board as plain data for JSON."""
        return {name: column.as_data() for name, column in self.columns.items()}


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


def token_entropy(token: TokenLogprob) -> float:
    """Entropy of the distribution that a token was chosen from, in nats, with all beyond the reported ones as one.

    Args:
        token: with its most likely alternatives.
    Returns:
        a lower bound of the entropy, close where the model is sure.
    """
    rest = max(0.0, 1.0 - sum(math.exp(logprob) for _, logprob in token.top))
    known = -sum(math.exp(logprob) * logprob for _, logprob in token.top)
    return known - (rest * math.log(rest) if rest > 1e-9 else 0.0)


def play(engine: Engine, environment: Environment, task: Task, params: SamplingParams) -> Played:
    """Let the engine play one task to its end. A prompt that its context does not hold counts as no reply.

    Args:
        engine: with a chat format.
        environment: that the task belongs to.
        task: the problem.
        params: how to sample.
    Returns:
        the outcome.
    Raises:
        RequestError: the engine's checkpoint has no chat format.
    """
    chat, episode = engine.chat, environment.start(task)
    if chat is None:
        raise RequestError("this checkpoint has no tokenizer.json, so it cannot chat: evaluate one that has")
    completions: list[Completion] = []
    messages = list(episode.messages)
    for _ in range(MAX_REPLIES):
        try:
            completions.append(engine.generate(messages, params, episode.tools))
        except RequestError as error:
            if error.code != "context_length_exceeded":
                raise
            break
        parser = chat.parser(episode.tools)
        parser.feed(completions[-1].text)
        parser.finish()
        results = episode.step(parser.message)
        messages += [parser.message, *results]
        if not results:
            break
    told = [message for message in episode.messages[len(task.messages) :] if message.role == "tool"]
    return Played(
        task,
        episode.reward(),
        tuple(messages),
        steps=sum(completion.stats.steps for completion in completions),
        new_tokens=sum(completion.stats.new_tokens for completion in completions),
        entropy=sum(token_entropy(token) for completion in completions for token in completion.logprobs or ()),
        calls=len(told),
        invented=sum(_error_code(message.content) in INVENTED for message in told),
    )


def _error_code(result: str) -> Any:
    try:
        found = json.loads(result)
    except ValueError:
        return None
    return found.get("error") if isinstance(found, dict) else None


def score(
    engine: Engine,
    environment: Environment,
    tasks: Iterable[Task],
    params: SamplingParams,
    samples: int = 1,
    on_played: Callable[[int, int, Played], None] = lambda index, sample, played: None,
) -> Column:
    """Play many tasks, several at once.

    Args:
        engine, environment, params: as for `play`; sampling is seeded by task and sample.
        tasks: the problems.
        samples: attempts at each.
        on_played: told of every episode in order: index of the task, number of the attempt, what came of it.
    Returns:
        the scores.
    """

    def attempts(task: Task) -> list[Played]:
        seeds = (zlib.crc32(f"{task.id}-{sample}".encode()) for sample in range(samples))
        return [play(engine, environment, task, replace(params, seed=seed)) for seed in seeds]

    scores: dict[str, Score] = defaultdict(Score)
    episodes: list[Played] = []
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for index, played in enumerate(pool.map(attempts, tasks)):
            for sample, one in enumerate(played):
                on_played(index, sample, one)
            episodes += played
            for cell in (scores[played[0].task.kind], scores["all"]):
                cell.rewards.append(sum(one.reward for one in played) / samples)
                cell.wrong += [one for one in played if one.reward < 1]
    tokens = sum(played.new_tokens for played in episodes)
    return Column(
        dict(scores),
        acceptance_length=tokens / max(sum(played.steps for played in episodes), 1),
        entropy=sum(played.entropy for played in episodes) / max(tokens, 1),
        calls=sum(played.calls for played in episodes),
        invented=sum(played.invented for played in episodes),
    )


def suite_names() -> tuple[str, ...]:
    """Suites that can be scored, in the order of the tables."""
    return tuple(name for name in SUITES if name in environment_names())


def pick_suites(names: str | None) -> tuple[str, ...]:
    """Read a choice of suites.

    Args:
        names: separated by commas; None takes all.
    Returns:
        the names, each once.
    Raises:
        RequestError: there is no such suite.
    """
    if names is None:
        return suite_names()
    picked = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in picked:
        if name not in suite_names():
            raise RequestError(f"there is no suite {name!r}: choose from {', '.join(suite_names())}", param="suite")
    return picked


def score_suite(
    engine: Engine, suite: str, count: int, seed: int, samples: int = 0, log: Path | None = None
) -> Scoreboard:
    """Score a suite on held-out problems, with known and with held-out phrasings, greedy and sampled.

    Args:
        engine: with a chat format.
        suite: one of `suite_names()`.
        count: tasks of each set.
        seed: which tasks are drawn.
        samples: attempts at each task at temperature 1; 0 plays greedily only.
        log: every episode is appended to it, see `openmimo.episodes`.
    Returns:
        the scores.
    Raises:
        RequestError: the log cannot be written.
    """
    environment = make_environment(suite)
    columns = {}
    for name, phrasings in PHRASINGS.items():
        tasks: Sequence[Task] = list(environment.tasks("eval", seed, count, phrasings))
        write = partial(_write, log, EpisodeHead(suite, "eval", seed, 0, "", "", phrasings, count))
        columns[name] = score(engine, environment, tasks, GREEDY, 1, partial(write, False))
        if samples:
            columns[f"{name}, sampled"] = score(engine, environment, tasks, SAMPLED, samples, partial(write, True))
    return Scoreboard(suite, columns)


def _write(log: Path | None, stream: EpisodeHead, is_sampled: bool, index: int, sample: int, played: Played) -> None:
    """Log an episode of a stream of tasks."""
    if log is not None:
        task, number = played.task, sample if is_sampled else None
        head = replace(stream, index=index, task=task.id, kind=task.kind, sample=number)
        append_episode(log, head, played.messages, played.reward)


def format_scores(board: Scoreboard) -> str:
    """A Markdown table: one row for each kind, one column for each set of tasks.

    Args:
        board: what to show.
    Returns:
        text; a cell is "percent (low-high, n)" with the 95% interval; the last rows are about how it was written.
    """
    columns = board.columns.values()
    kinds = [*sorted({kind for column in columns for kind in column.scores} - {"all"}), "all"]
    lines = [f"| {board.suite} | " + " | ".join(board.columns) + " |", "| --- |" + " ---: |" * len(columns)]
    rows = {kind: [_cell(column.scores.get(kind)) for column in columns] for kind in kinds}
    rows["tokens for each engine step"] = [f"{column.acceptance_length:.2f}" for column in columns]
    rows["entropy, nats a token"] = [f"{column.entropy:.3f}" for column in columns]
    if any(column.calls for column in columns):
        rows["calls that invent a name"] = [
            f"{100 * column.invented / max(column.calls, 1):.1f}% of {column.calls}" for column in columns
        ]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def _cell(score: Score | None) -> str:
    if score is None or not score.rewards:
        return "-"
    low, high = score.interval
    return f"{score.percent:.1f} ({low:.0f}-{high:.0f}, n {len(score.rewards)})"
