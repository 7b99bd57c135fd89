"""Drills and slips of the default model's data: what they teach is true, and slips themselves are not taught."""

import json
import random

import nano
import nano_data
import pytest
from nano_drills import home_drill, note_drill, number_drill
from nano_slips import slip

from openmimo.chat import ChatFormat
from openmimo.checkpoint import default_model_path
from openmimo.environments.comparing import SIGNS
from openmimo.environments.home import sample_home
from openmimo.environments.recall import sample_notes
from openmimo.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def trees() -> nano_data.Trees:
    chat = ChatFormat(Tokenizer.load(default_model_path()), nano.default_template())
    return nano_data.Trees(chat, 1, nano.control_id("<|endoftext|>"))


def test_number_drills_are_true():
    rng = random.Random(0)
    for _ in range(100):
        asked, told = number_drill(rng)
        for item, line in zip(asked.content.split(", "), told.content.split("\n"), strict=True):
            assert line.startswith(item)
            sign = next((sign for sign in sorted(SIGNS, key=len, reverse=True) if sign in item), None)
            if sign:
                left, right = map(int, item.split(sign))
                assert line == f"{item} {'yes' if SIGNS[sign](left, right) else 'no'}"
            else:
                assert int(line.split("=")[1]) == eval(item)


def test_note_drills_quote_notes_that_are_there():
    rng = random.Random(1)
    for _ in range(40):
        notes = sample_notes(rng, "train", "short")
        for line in note_drill(rng, notes)[1].content.split("\n"):
            before, _, value = line.partition(": ")
            if before.startswith("I will"):
                assert any(fact.line.startswith(f"{value}: {before} ") for fact in notes.facts)
            else:
                assert any(fact.line == f"The {value} {before.partition(' ')[2]}." for fact in notes.facts)


def test_home_drills_tell_of_everything_asked_for():
    rng = random.Random(2)
    for _ in range(40):
        asked, told = home_drill(rng, sample_home(rng, 8, "train"))
        assert len(told.content.split("\n")) >= len(asked.content.split(", "))


@pytest.mark.parametrize("name", ["home", "car", "energy"])
def test_a_slip_is_read_and_the_reply_to_it_is_learnt(trees, name, monkeypatch):
    monkeypatch.setattr(nano_data, "SLIP_SHARE", 1.0)
    rng = random.Random(3)
    environment = nano_data.ACTING[name]
    tasks = list(environment.tasks("train", 3, 30))
    found = [(task, messages) for task in tasks if (messages := slip(rng, environment, task))]
    assert len(found) > 5
    for _, messages in found:
        errors = [data["message"] for message in messages[1:-1] if "error" in (data := json.loads(message.content))]
        assert errors
        assert all(error in messages[-1].content for error in errors)
    branches = [branch for task, _ in found if (branch := trees.slip(rng, name, task))]
    for branch in branches:
        first = branch.weights.index(1.0)
        assert set(branch.weights[:first]) <= {0.0, nano_data.CONTEXT_WEIGHT}
        assert set(branch.weights[first:]) == {1.0}
        learnt = trees.chat.tokenizer.decode(branch.ids[first:])
        assert "That did not work: " in learnt
        assert "<tool_call>" not in learnt
    assert branches


def test_what_is_scored_has_neither_drills_nor_slips(trees):
    tree, tasks = trees.tree(random.Random(4), "home", "eval", "eval")
    assert len(tree.branches) == len(tasks)
    tree, tasks = trees.tree(random.Random(4), "home", "train", "train")
    assert len(tree.branches) >= len(tasks) + nano_data.DRILLS["home"]


def test_the_tokenizer_is_trained_without_the_names_of_single_homes(trees, monkeypatch):
    """Homes of another draw have others: most of what they have in common is left."""

    def words(seed: int) -> set[str]:
        return set(nano_data.WORD.findall(" ".join(nano_data.corpus(trees.chat, nano.CONTROL_TOKENS, seed, 160))))

    one, other = words(0), words(1)
    assert len(one - other) < 0.15 * len(one)  # 101 of 853
    monkeypatch.setattr(nano_data, "COMMON_SHARE", 0.0)
    everything = words(0)
    assert one < everything
    assert len(everything - words(1)) > 0.25 * len(everything)  # 395 of 1,303
