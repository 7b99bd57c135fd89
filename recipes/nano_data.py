"""What the default model learns from: batches, tokenizer text and progress scores drawn from all environments.

A row of a batch is one *stem* (a home's listing, notes to remember) and the requests about it as branches.
"""

import itertools
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from nano_drills import home_drill, note_drill, number_drill
from nano_slips import slip

from openmimo.chat import ChatFormat, Message
from openmimo.environments import car, energy, make_environment, maths, programs, recall
from openmimo.environments.base import Split, Task
from openmimo.environments.car.generate import Situation
from openmimo.environments.home import KIND_WEIGHTS, sample_home, sample_tasks
from openmimo.model.attention import Layout
from openmimo.model.model import MiMo
from openmimo.train.data import Branch, PackedBatch, Tree, encode_reply, pack
from openmimo.train.mining import Marker, prefer_wrong
from openmimo.train.processes import computes_bf16, rank_and_world
from openmimo.train.score import exact_branches, mtp_agreement

__all__ = ["SUITES", "Scoreboard", "Trees", "corpus"]

SUITES: Mapping[str, float] = {"home": 42, "car": 14, "energy": 16, "maths": 8, "programs": 11, "recall": 9}
TRAINED_KINDS = {
    **KIND_WEIGHTS, "plain": 16, "state": 13, "missing": 10, "pair": 6, "relative": 10, "condition": 12, "followup": 10,
    "confirm": 50, "count": 6, "robot": 10, "ambiguous": 16, "indirect": 8, "courtesy": 4,
}  # fmt: skip
"""Shares of the kinds of home tasks in training: what takes long to learn comes more often than in evaluation, and
devices called what most people's are, which names drawn at random seldom give."""
TRAINED_CAR: Mapping[Situation, Mapping[str, float]] = {
    **car.KIND_WEIGHTS,
    "parked": {**car.KIND_WEIGHTS["parked"], "too_far": 10, "phone": 12},
    "journey": {**car.KIND_WEIGHTS["journey"], "journey_enough": 25},
}
TRAINED_ENERGY = {**energy.KIND_WEIGHTS, "state": 18, "too_late": 10, "unsupported": 8}
ACTING = {name: make_environment(name) for name in ("home", "car", "energy")}
SLIP_SHARE = 0.06
"""Share of tasks that come again with a call that went wrong."""
ROWS, BRANCHES = 2, 16
CANDIDATES = 3
"""Times as many branches are drawn as there is room for, where a marker says which are worth it."""
WRONG_SHARE = 0.7
SLOTS = ((9, 128), (6, 192), (3, 384))
"""Numbers and lengths of slots: as many columns each, so one shape outside attention; in it, short slots cost less."""
LONGEST = SLOTS[-1][1]
CONTEXT_WEIGHT = 0.1
MAX_DEVICES = 14
LONG_SHARE = 0.57
"""Times the share of recall: share of steps whose rows are notes of about 1,400 tokens, too slow beside other rows."""
MAX_GAP = 4500
"""Positions left out between notes and questions, so that distances come up that no batch has room for."""

COMMON_SHARE = 0.0125
"""Least share of groups of tasks that have a word which the tokenizer learns."""
WORD = re.compile(r"[^\W\d_]+")

Group = Callable[[random.Random, Split, Split, int], Sequence[Task]]
Drill = Callable[[random.Random], list[Message]]
_GROUPS: Mapping[str, Group] = {
    "car": partial(car.sample_group, weights=TRAINED_CAR),
    "energy": partial(energy.sample_group, weights=TRAINED_ENERGY),
    "maths": maths.sample_group,
    "programs": programs.sample_group,
}
NOTES = {"recall": "short", "long recall": "medium"}
"""Length of the notes of the other two."""
DRILLS = {"home": 6, "car": 3, "energy": 5, "programs": 3, "recall": 6, "long recall": 8}
"""Drills in a tree, the first of them with numbers."""


def curriculum(progress: float, rng: random.Random) -> int:
    """Devices in a home at a point of the run: small homes first, up to 14 after a sixth."""
    return rng.randint(3, 4 + round((MAX_DEVICES - 4) * min(1.0, 6 * progress)))


class Trees:
    """Draws training and evaluation trees.

    Args:
        chat: the model's format.
        seed: of everything that is drawn.
        pad_id: fills the gaps of a batch.
        suites: shares of what is drawn.
    """

    def __init__(self, chat: ChatFormat, seed: int, pad_id: int, suites: Mapping[str, float] = SUITES):
        self.chat, self.seed, self.pad_id, self.suites = chat, seed, pad_id, suites
        self.long_share = LONG_SHARE * suites.get("recall", 0.0) / sum(suites.values())
        self.skipped = len(chat.encode([Message("system", "")], add_generation_prompt=False))

    def training(self, index: int, steps: int, marker: Marker | None = None) -> PackedBatch:
        """Batch number `index`, a function of it, the number of processes, the seed and the marker's weights alone.

        Args:
            index: step * processes + process.
            steps: of the whole run, for the curriculum.
            marker: finds branches that are still wrong; without one they are taken as they come.
        """
        step = index // rank_and_world()[1]
        is_long = random.Random(f"{self.seed}:step:{step}").random() < self.long_share
        rng = random.Random(f"{self.seed}:{index}")
        drawn = rng.choices(tuple(self.suites), tuple(self.suites.values()), k=ROWS)
        suites = ["long recall"] * ROWS if is_long else drawn
        if marker:
            trees = [self.hard_tree(rng, suite, step / steps, marker) for suite in suites]
        else:
            trees = [self.tree(rng, suite, "train", "train", step / steps)[0] for suite in suites]
        longest = max(len(branch.ids) for tree in trees for branch in tree.branches)
        slots = next(slots for slots in SLOTS if slots[1] >= longest)
        batch = pack(trees, self.pad_id, 512 if is_long else 128, slots)
        return skip_positions(batch, rng.randrange(MAX_GAP)) if is_long and rng.random() < 0.5 else batch

    def hard_tree(self, rng: random.Random, suite: str, progress: float, marker: Marker) -> Tree:
        """A training tree of branches most of which the marker's weights get wrong."""
        tree, _ = self.tree(rng, suite, "train", "train", progress, CANDIDATES * BRANCHES)
        return prefer_wrong(tree, marker.mark(tree), SLOTS[0][0] * SLOTS[0][1], WRONG_SHARE, rng)

    def tree(
        self,
        rng: random.Random,
        suite: str,
        problems: Split,
        phrasings: Split,
        progress: float = 1.0,
        count: int = BRANCHES,
    ) -> tuple[Tree, Sequence[Task]]:
        """A tree of requests that share one system message.

        Args:
            rng: source of randomness.
            suite: a key of SUITES, or "long recall".
            problems: split of homes, problems and notes.
            phrasings: split of the arrangements of words.
            progress: point of the run, for the curriculum.
            count: of requests.
        Returns:
            the tree, and the tasks of its first branches; drills and slips come after them.
        """
        tasks, drill = self._draw(rng, suite, problems, phrasings, progress, count)
        branches = [self.branch(rng, task) for task in tasks]
        if problems == "train":
            slips = (self.slip(rng, suite, task) for task in tasks if suite in ACTING)
            branches += [self.cut((drill if n else number_drill)(rng)) for n in range(DRILLS.get(suite, 0))]
            branches += [branch for branch in slips if branch is not None]
        stem = self.chat.encode(tasks[0].messages[:1], tasks[0].tools, add_generation_prompt=False)
        return Tree(stem, branches), tasks

    def _draw(
        self, rng: random.Random, suite: str, problems: Split, phrasings: Split, progress: float, count: int
    ) -> tuple[Sequence[Task], Drill]:
        """Tasks that share a system message, and what draws drills about the same."""
        if suite == "home":
            home = sample_home(rng, curriculum(progress, rng), problems)
            weights = TRAINED_KINDS if problems == "train" else KIND_WEIGHTS
            return sample_tasks(rng, home, count, phrasings, weights=weights), partial(home_drill, home=home)
        if suite in NOTES:
            notes = recall.sample_notes(rng, problems, NOTES[suite])
            return recall.sample_questions(rng, notes, phrasings, count), partial(note_drill, notes=notes)
        return _GROUPS[suite](rng, problems, phrasings, count), number_drill

    def branch(self, rng: random.Random, task: Task) -> Branch:
        """What follows the system turn. Most branches end with the first reply: what comes after a tool is easy."""
        asked = task.messages[1:]
        branch = self.cut([*asked, *(task.gold if rng.random() < 0.3 else task.gold[:1])])
        return branch if len(branch.ids) < LONGEST else self.cut([*asked, task.gold[0]])

    def slip(self, rng: random.Random, suite: str, task: Task) -> Branch | None:
        """Now and then a call that goes wrong; of its branch only the reply to that is a target."""
        messages = slip(rng, ACTING[suite], task) if rng.random() < SLIP_SHARE else []
        if not messages:
            return None
        asked = task.messages[1:]
        branch, spoilt = self.cut([*asked, *messages]), self.cut([*asked, messages[0]])
        length = len(spoilt.ids)
        return Branch(branch.ids, [0.0] * length + branch.weights[length:]) if len(branch.ids) < LONGEST else None

    def cut(self, messages: Sequence[Message]) -> Branch:
        """Encode after an empty system turn and cut that off: control tokens part the text, so it fits after any. The
        longest plans and look-ups lose their end."""
        ids, weights = encode_reply(self.chat, [Message("system", ""), *messages], (), CONTEXT_WEIGHT)
        end = self.skipped + LONGEST
        return Branch(ids[self.skipped : end], weights[self.skipped : end])


def skip_positions(batch: PackedBatch, gap: int) -> PackedBatch:
    """Move all branches `gap` positions away from their stem.

    Source: positional skip-wise training, Zhu et al., "PoSE", 2023.
    """
    layout = batch.layout
    places = layout.positions_BT + gap * (layout.branches_BT > 0)
    moved = Layout(places, layout.documents_BT, layout.branches_BT, layout.num_slots, layout.slot_length)
    return replace(batch, layout=moved)


@dataclass(frozen=True)
class _Cell:
    batch: PackedBatch
    kinds: list[list[str]]


class Scoreboard:
    """Exact replies by kind, by teacher forcing, on held-out problems with known and with held-out phrasings.

    The same items every time: `rows` trees of each suite.
    """

    def __init__(self, trees: Trees, rows: int = 4):
        self.cells: dict[tuple[str, str], _Cell] = {}
        for suite in SUITES:
            for phrasings in ("train", "eval"):
                rng = random.Random(f"score:{suite}:{phrasings}")
                count = 3 * rows if suite == "home" else rows
                pairs = [trees.tree(rng, suite, "eval", phrasings) for _ in range(count)]
                kinds = [[task.kind for task in tasks] for _, tasks in pairs]
                self.cells[suite, phrasings] = _Cell(pack([tree for tree, _ in pairs], trees.pad_id, 128), kinds)

    def __call__(self, model: MiMo, step: int) -> dict[str, Any]:
        """Percent right: by kind with known phrasings, by suite with both; and the MTP heads' agreement."""
        right: dict[str, dict[str, list[bool]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        kinds: dict[str, list[bool]] = defaultdict(list)
        agreement: list[list[float]] = []
        device = next(model.parameters()).device
        for (suite, phrasings), cell in self.cells.items():
            batch = cell.batch.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
                table = exact_branches(model, batch).tolist()
                if suite == "home":
                    agreement.append(mtp_agreement(model, batch))
            for names, hits in zip(cell.kinds, table, strict=True):
                for name, hit in zip(names, hits, strict=False):
                    right[phrasings][suite].append(hit)
                    if phrasings == "train":
                        kinds[f"{suite} {name}"].append(hit)
        scores: dict[str, Any] = {
            cell: {suite: _percent(hits) for suite, hits in table.items()} for cell, table in right.items()
        }
        scores["kinds"] = {kind: _percent(hits) for kind, hits in sorted(kinds.items())}
        if agreement[0]:
            scores["agreement"] = [round(share, 4) for share in agreement[0]]
        return scores


def _percent(hits: Sequence[bool]) -> int:
    return round(100 * sum(hits) / len(hits))


def corpus(template: ChatFormat, control_tokens: Sequence[str], seed: int, groups: int = 1600) -> Iterator[str]:
    """What the tokenizer is trained on: rendered conversations of training problems, cut at the control tokens, without
    the words that few groups of tasks share.

    Those are mostly invented names. Tokens made for them would be rare, and one that stands before a space in a home's
    listing and after none in a reply could not be copied; so they are spelled in pieces of common words.
    """
    rng = random.Random(f"{seed}:corpus")
    between = "|".join(map(re.escape, control_tokens))
    texts = [_conversations(rng, template, between) for _ in range(groups)]
    shared = Counter(word for text in texts for word in set(WORD.findall("\n".join(text))))
    for part in itertools.chain.from_iterable(texts):
        yield WORD.sub(lambda match: match[0] if shared[match[0]] >= COMMON_SHARE * groups else "", part)


def _conversations(rng: random.Random, template: ChatFormat, between: str) -> list[str]:
    """The parts of one group of tasks."""
    suite = rng.choices(tuple(SUITES), tuple(SUITES.values()))[0]
    if suite == "home":
        tasks: Sequence[Task] = sample_tasks(rng, sample_home(rng, rng.randint(3, MAX_DEVICES), "train"), 8)
    elif suite in NOTES:
        tasks = recall.sample_group(rng, "train", "train", 8, NOTES[suite])
    else:
        tasks = _GROUPS[suite](rng, "train", "train", 8)
    parts = []
    for number, task in enumerate(tasks):
        text = template.render([*task.messages, *task.gold], task.tools, add_generation_prompt=False)
        parts += re.split(between, text)[2 if number else 0 :]
    return parts
