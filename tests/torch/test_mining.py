"""Finding replies that are still wrong: the engine's marks against the torch model's, and what is then chosen."""

import random
from pathlib import Path

import numpy as np
import torch

from openmimo.checkpoint import Checkpoint
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.train.data import Branch, Tree, pack
from openmimo.train.mining import Marker, prefer_wrong
from openmimo.train.score import exact_branches

FOLDER = Path(__file__).parents[1] / "oracles" / "mimo_v2_flash_tiny"


def tiny_model() -> MiMo:
    return load_model(Checkpoint.open(FOLDER))


def greedy(model: MiMo, ids: list[int], count: int) -> list[int]:
    for _ in range(count):
        ids = [*ids, int(model.logits(model(torch.tensor([ids])))[0, -1].argmax())]
    return ids[-count:]


@torch.no_grad()
def half_right_tree(model: MiMo) -> tuple[Tree, list[bool]]:
    """Long enough a stem to be read in several parts; every second branch has one token that is not greedy."""
    rng = random.Random(1)
    stem = [rng.randrange(1, 300) for _ in range(300)]
    branches, truth = [], []
    for number in range(8):
        asked = [rng.randrange(1, 300) for _ in range(rng.randint(2, 9))]
        reply = greedy(model, stem + asked, 5)
        if number % 2:
            reply[rng.randrange(5)] += 1
        branches.append(Branch([*asked, *reply], [0.1] * len(asked) + [1.0] * 5))
        truth.append(number % 2 == 0)
    return Tree(stem, branches), truth


def test_marks_are_those_of_the_torch_model_and_of_greedy_decoding():
    model = tiny_model()
    tree, truth = half_right_tree(model)
    marker = Marker(model.config.published, published_tensors(model), "f32")
    assert marker.mark(tree) == truth
    assert marker.mark(tree) == truth, "branches leave nothing behind"
    assert exact_branches(model, pack([tree], pad_id=0))[0].tolist() == truth


def test_marks_follow_the_weights():
    model = tiny_model()
    tree, truth = half_right_tree(model)
    tensors = published_tensors(model)
    marker = Marker(model.config.published, {name: np.zeros_like(tensor) for name, tensor in tensors.items()}, "f32")
    assert not any(marker.mark(tree))
    marker.update(tensors)
    assert marker.mark(tree) == truth


def test_wrong_branches_fill_their_share_of_the_room_and_right_ones_the_rest():
    tree = Tree([1], [Branch([n] * 10, [1.0] * 10) for n in range(40)])
    is_right = [n >= 20 for n in range(40)]
    chosen = prefer_wrong(tree, is_right, 100, 0.7, random.Random(3))
    numbers = [branch.ids[0] for branch in chosen.branches]
    assert (len(numbers), sum(n < 20 for n in numbers)) == (10, 7)
    assert numbers != sorted(numbers), "drawn at random"
    assert chosen.stem == tree.stem


def test_room_that_one_sort_leaves_is_taken_by_the_other():
    tree = Tree([1], [Branch([n] * 10, [1.0] * 10) for n in range(20)])
    for is_right, wrong in (([n >= 2 for n in range(20)], 2), ([n >= 18 for n in range(20)], 8)):
        chosen = prefer_wrong(tree, is_right, 100, 0.7, random.Random(3))
        assert len(chosen.branches) == 10
        assert sum(not is_right[branch.ids[0]] for branch in chosen.branches) == wrong
