"""Training: targets and masks by hand, optimisers against references, and exact resumption."""

import json
import math

import pytest
import torch
from torch import nn

from openmimo.config import parse_config
from openmimo.errors import TrainingError
from openmimo.model.model import new_model
from openmimo.train.data import Branch, PackedBatch, Tree, pack
from openmimo.train.loss import LossWeights, compute_losses
from openmimo.train.optim import Muon, OptimConfig, learning_rate, orthogonalise
from openmimo.train.score import exact_branches, mtp_agreement
from openmimo.train.snapshot import latest_snapshot
from openmimo.train.trainer import TrainConfig, train
from tests.torch.test_model import SMALL

TREE = Tree([1, 2, 3], [Branch([4, 5, 6], [0.0, 1.0, 1.0]), Branch([7, 8], [0.0, 1.0])])


def test_pack_pads_stems_in_front_and_branches_behind():
    batch = pack([TREE], pad_id=0, multiple=4)
    assert batch.ids_BT.tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 0, 0]]
    assert batch.layout.positions_BT.tolist() == [[0, 0, 1, 2, 3, 4, 5, 0, 3, 4, 0, 0]]
    assert batch.layout.documents_BT.tolist() == [[-1, 0, 0, 0, 0, 0, 0, -1, 0, 0, -1, -1]]
    assert batch.layout.branches_BT.tolist() == [[0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 0, 0]]
    assert batch.num_tokens == 8


def test_short_branches_share_a_slot():
    tree = Tree([1], [Branch([4, 5], [0.0, 1.0]), Branch([6, 7, 8, 9], [0.0] * 4), Branch([2, 3], [0.0, 1.0])])
    batch = pack([tree], pad_id=0, multiple=4)
    assert batch.ids_BT.tolist() == [[0, 0, 0, 1, 6, 7, 8, 9, 4, 5, 2, 3]]
    assert batch.layout.branches_BT.tolist() == [[0, 0, 0, 0, 2, 2, 2, 2, 1, 1, 3, 3]]


def test_branches_without_room_are_left_out():
    tree = Tree([1], [Branch([4, 5], [0.0, 1.0]), Branch([6, 7, 8, 9], [0.0] * 4), Branch([2, 3, 3], [0.0, 1.0, 1.0])])
    batch = pack([tree], pad_id=0, multiple=2, slots=(1, 4))
    assert batch.ids_BT.tolist() == [[0, 1, 6, 7, 8, 9]]
    assert pack([tree], pad_id=0, multiple=2, slots=(2, 3)).ids_BT.tolist() == [[0, 1, 2, 3, 3, 4, 5, 0]]


def test_targets_stay_on_their_own_branch():
    ids, weights = pack([TREE], pad_id=0, multiple=4).targets(1)
    # Columns 4 and 5 predict 5 and 6, column 8 predicts 8; column 3 (stem) and column 7 (padding) predict nothing.
    assert ids[weights > 0].tolist() == [5, 6, 8]
    assert weights.nonzero()[:, 1].tolist() == [4, 5, 8]
    ids, weights = pack([TREE], pad_id=0, multiple=4).targets(2)
    assert ids[weights > 0].tolist() == [6]


def test_loss_is_the_mean_over_weighted_targets():
    model = new_model(parse_config(SMALL), seed=0)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    losses = compute_losses(model.train(), pack([TREE], 0), LossWeights(mtp=0.0, balance=0.0))
    assert losses.total.item() == pytest.approx(math.log(50), abs=1e-5)  # uniform over 50 tokens


def test_frozen_trunk_gets_no_gradient_and_heads_do():
    model = new_model(parse_config(SMALL, num_mtp_layers=2), seed=0).train()
    tree = Tree([1, 2], [Branch([3, 4, 5, 6], [0.0, 1.0, 1.0, 1.0])])
    compute_losses(model, pack([tree], 0), LossWeights(trunk=0.0, mtp=1.0)).total.backward()
    assert model.model.layers[0].self_attn.q_proj.weight.grad is None
    assert all(head.eh_proj.weight.grad.abs().sum() > 0 for head in model.heads)


def test_orthogonalise_pushes_singular_values_towards_one():
    x = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(x, steps=8).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_muon_treats_each_expert_of_a_stack_like_a_matrix_of_its_own():
    stack = nn.Parameter(torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1)))
    single = nn.Parameter(stack.detach()[1].clone())
    gradient = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(2))
    stack.grad, single.grad = gradient, gradient[1].clone()
    for parameter in (stack, single):
        Muon([parameter], lr=0.1, weight_decay=0.1).step()
    assert torch.allclose(stack[1], single, atol=1e-6)


def test_learning_rate_warms_up_holds_and_decays():
    config = OptimConfig(warmup=0.1, decay=0.4)
    assert [round(learning_rate(p, config), 3) for p in (0.0, 0.05, 0.3, 0.8, 1.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]


def copy_task(step: int, rows: int = 8) -> PackedBatch:
    """Say the stem's two tokens again: learnable in a few dozen steps."""
    generator = torch.Generator().manual_seed(step)
    trees = []
    for _ in range(rows):
        a, b = torch.randint(10, 50, (2,), generator=generator).tolist()
        trees.append(Tree([1, a, b], [Branch([2, a, b], [0.0, 1.0, 1.0])]))
    return pack(trees, pad_id=0)


def run(folder, steps, **changes):
    torch.set_num_threads(1)
    config = TrainConfig(str(folder), steps=12, save_every=4, bf16=False, **changes)
    model = new_model(parse_config(SMALL, num_mtp_layers=1), seed=0)
    return train(model, config, stop_after(steps), {})


def stop_after(steps: int):
    def source(step: int) -> PackedBatch:
        if step >= steps:
            raise KeyboardInterrupt  # as if killed: nothing of the current step is saved
        return copy_task(step)

    return source


def weights_of(folder):
    return (folder / "model.safetensors").read_bytes(), (folder / "trainer" / "optimizers.safetensors").read_bytes()


def test_an_interrupted_run_ends_bit_identical_to_an_uninterrupted_one(tmp_path):
    straight = run(tmp_path / "straight", steps=12)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", steps=6)
    broken = run(tmp_path / "broken", steps=12)
    assert weights_of(straight) == weights_of(broken)
    steps = [json.loads(line)["step"] for line in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(12))


def test_a_damaged_snapshot_is_passed_over(tmp_path):
    newest = run(tmp_path, steps=12)
    path = newest / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    found = latest_snapshot(tmp_path)
    assert found is not None
    assert found.name == "step-000008"


def test_resuming_with_other_settings_names_them(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, steps=6)
    with pytest.raises(TrainingError, match=r"max_bad_steps: saved 5, now 3"):
        run(tmp_path, steps=12, max_bad_steps=3)


@pytest.mark.parametrize("optim", [OptimConfig(lr=1e-2), OptimConfig(matrix_lr=0.02)], ids=["adamw", "muon"])
def test_training_learns_to_copy_and_its_mtp_head_too(tmp_path, optim):
    torch.set_num_threads(1)
    model = new_model(parse_config(SMALL, num_mtp_layers=1), seed=0)
    config = TrainConfig(str(tmp_path), steps=100, save_every=1000, bf16=False, optim=optim)
    train(model, config, lambda step: copy_task(step, rows=32), {})
    assert exact_branches(model, copy_task(10**6, rows=32)).float().mean() >= 0.9
    assert mtp_agreement(model, copy_task(10**6, rows=32))[0] >= 0.9
