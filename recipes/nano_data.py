"""What the default model learns from: batches, tokenizer text and progress scores drawn from all environments.

A row of a batch is one *stem* (a home's listing, notes to remember) and the requests about it as branches.
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from openmimo.chat import ChatFormat, Message
from openmimo.environments import car, energy, maths, programs, recall
from openmimo.environments.base import Split, Task
from openmimo.environments.car.generate import Situation
from openmimo.environments.home import KIND_WEIGHTS, Home, sample_home, sample_tasks
from openmimo.environments.home.lookups import find, scan
from openmimo.environments.home.mentions import Mention, named_mention
from openmimo.environments.home.words import NOUNS, invent_word, noun_phrases
from openmimo.model.attention import Layout
from openmimo.model.model import MiMo
from openmimo.train.data import Branch, PackedBatch, Tree, encode_reply, pack
from openmimo.train.mining import Marker, prefer_wrong
from openmimo.train.processes import computes_bf16, rank_and_world
from openmimo.train.score import exact_branches, mtp_agreement

__all__ = ["SUITES", "Scoreboard", "Trees", "corpus"]

SUITES: Mapping[str, float] = {"home": 52, "car": 13, "energy": 13, "maths": 6, "programs": 9, "recall": 7}
TRAINED_KINDS = {
    **KIND_WEIGHTS, "plain": 16, "state": 13, "missing": 10, "pair": 6, "relative": 10, "condition": 12, "followup": 10,
    "confirm": 50, "count": 6, "robot": 10,
}  # fmt: skip
"""Shares of the kinds of home tasks in training: what takes long to learn comes more often than in evaluation, and
devices called what most people's are, which names drawn at random seldom give."""
TRAINED_CAR: Mapping[Situation, Mapping[str, float]] = {
    **car.KIND_WEIGHTS,
    "parked": {**car.KIND_WEIGHTS["parked"], "too_far": 10, "phone": 12},
    "journey": {**car.KIND_WEIGHTS["journey"], "journey_enough": 25},
}
TRAINED_ENERGY = {**energy.KIND_WEIGHTS, "state": 18, "too_late": 10}
ROWS, BRANCHES, DRILLS = 2, 16, 5
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

Group = Callable[[random.Random, Split, Split, int], Sequence[Task]]
_GROUPS: Mapping[str, Group] = {
    "car": partial(car.sample_group, weights=TRAINED_CAR),
    "energy": partial(energy.sample_group, weights=TRAINED_ENERGY),
    "maths": maths.sample_group,
    "programs": programs.sample_group,
    "recall": lambda rng, split, phrasings, count: recall.sample_group(rng, split, phrasings, count, "short"),
    "long recall": lambda rng, split, phrasings, count: recall.sample_group(rng, split, phrasings, count, "medium"),
}


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
            the tree, and the task of each branch but the drills.
        """
        drills: list[Branch] = []
        if suite == "home":
            home = sample_home(rng, curriculum(progress, rng), problems)
            weights = TRAINED_KINDS if problems == "train" else KIND_WEIGHTS
            tasks: Sequence[Task] = sample_tasks(rng, home, count, phrasings, weights=weights)
            drills = [self.drill(rng, home) for _ in range(DRILLS)] if problems == "train" else []
        else:
            tasks = _GROUPS[suite](rng, problems, phrasings, count)
        stem = self.chat.encode(tasks[0].messages[:1], tasks[0].tools, add_generation_prompt=False)
        return Tree(stem, [*(self.branch(rng, task) for task in tasks), *drills]), tasks

    def drill(self, rng: random.Random, home: Home) -> Branch:
        """Look up several things in a row: nearly every token is a copy from the listing, which is what a model that
        starts from nothing has to discover first; ordinary requests reward it for that only now and then. One in five
        compares numbers instead."""
        item = partial(_drill_item, home=home) if rng.random() < 0.8 else _drill_comparison
        items = [item(rng) for _ in range(rng.randint(1, 4))]
        told = "\n".join(line for _, lines in items for line in lines)
        return self.cut([Message("user", ", ".join(asked for asked, _ in items)), Message("assistant", told)])

    def branch(self, rng: random.Random, task: Task) -> Branch:
        """What follows the system turn. Most branches end with the first reply: what comes after a tool is easy."""
        asked = task.messages[1:]
        branch = self.cut([*asked, *(task.gold if rng.random() < 0.3 else task.gold[:1])])
        return branch if len(branch.ids) < LONGEST else self.cut([*asked, task.gold[0]])

    def cut(self, messages: Sequence[Message]) -> Branch:
        """Encode after an empty system turn and cut that off: control tokens part the text, so it fits after any. The
        longest plans and look-ups lose their end."""
        ids, weights = encode_reply(self.chat, [Message("system", ""), *messages], (), CONTEXT_WEIGHT)
        end = self.skipped + LONGEST
        return Branch(ids[self.skipped : end], weights[self.skipped : end])


def _drill_comparison(rng: random.Random) -> tuple[str, Sequence[str]]:
    """Two numbers as the reasoning about conditions compares them; half of the pairs are close."""
    first, sign = rng.randint(0, 60), rng.choice("<>")
    second = max(0, first + rng.randint(-5, 5)) if rng.random() < 0.5 else rng.randint(0, 60)
    is_so = first < second if sign == "<" else first > second
    asked = f"{first} {sign} {second}"
    return asked, (f"{asked}: {'yes' if is_so else 'no'}",)


def _drill_item(rng: random.Random, home: Home) -> tuple[str, Sequence[str]]:
    """What is asked for, by a name of its own, a noun or a domain, there or not; and the lines that tell."""
    device = rng.choice(home.devices)
    if device.nick and rng.random() < 0.6:
        return device.name, find(home, device, named_mention(device))
    if rng.random() < 0.2:
        name = f"{invent_word(rng)} {device.noun.head}"
        return name, (f"{name}: none",)
    if rng.random() < 0.5:
        area = "" if rng.random() < 0.6 else device.area
        nouns = NOUNS.get(device.domain, [device.noun])
        noun = rng.choice(noun_phrases(device.noun if rng.random() < 0.75 else rng.choice(nouns)))
        said = f"{area} {noun}".strip()
        return said, find(home, device, Mention(said, "area", area=area, noun=noun))
    other = device if rng.random() < 0.6 else rng.choice(home.devices)
    area = "" if rng.random() < 0.25 else other.area
    return f"{device.domain} {area}".strip(), scan(home, device.domain, area, home.devices)


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
    """Rendered conversations of training problems, cut at the control tokens: what the tokenizer is trained on."""
    rng = random.Random(f"{seed}:corpus")
    between = "|".join(map(re.escape, control_tokens))
    for _ in range(groups):
        suite = rng.choices(tuple(SUITES), tuple(SUITES.values()))[0]
        if suite == "home":
            tasks: Sequence[Task] = sample_tasks(rng, sample_home(rng, rng.randint(3, MAX_DEVICES), "train"), 8)
        else:
            tasks = _GROUPS[suite](rng, "train", "train", 8)
        for number, task in enumerate(tasks):
            text = template.render([*task.messages, *task.gold], task.tools, add_generation_prompt=False)
            yield from re.split(between, text)[2 if number else 0 :]
