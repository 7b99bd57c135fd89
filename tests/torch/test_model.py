"""The torch model against the committed oracle numbers, and its training-only paths against plain ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

import openmimo.model.attention
import openmimo.model.moe
from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.config import parse_config
from openmimo.model.attention import Layout
from openmimo.model.model import load_model, new_model, published_tensors
from openmimo.model.moe import MoE, Router, balance_bias
from openmimo.model.mtp import shift_left
from openmimo.train.data import Branch, Tree, pack
from openmimo.train.loss import LossWeights, compute_losses

ORACLES = Path(__file__).parents[1] / "oracles"
TOLERANCE = 1e-4  # float32 sums in another order; observed 3e-6
V2 = ["mimo_v2_flash_tiny", "mimo_v2_flash_fp8_tiny", "mimo_v25_fp8_tiny", "mimo_v25_mxfp4_tiny"]

SMALL = {
    "model_type": "mimo_v2_flash", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 0], "moe_layer_freq": [0, 1, 1],
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 12, "v_head_dim": 8,
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 12, "swa_v_head_dim": 8,
    "partial_rotary_factor": 0.34, "rope_theta": 10000, "swa_rope_theta": 1000, "sliding_window": 4,
    "add_swa_attention_sink_bias": True, "attention_value_scale": 0.7, "n_routed_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 16, "max_position_embeddings": 64, "layernorm_epsilon": 1e-5,
}  # fmt: skip


def oracle(name: str, **readings):
    checkpoint = Checkpoint.open(ORACLES / name, **readings)
    return load_model(checkpoint), load_file(ORACLES / name / "expected.safetensors")


@pytest.mark.parametrize("name", [*V2, "mimo_7b_tiny"])
@pytest.mark.parametrize("state", ["pre_norm", "post_norm"])
@torch.no_grad()
def test_logits_and_mtp_logits_equal_the_oracle(name, state):
    model, expected = oracle(name, mtp_trunk_state=state)
    ids = torch.from_numpy(expected["seq.input_ids"])[None]
    hidden = model(ids)
    assert np.abs(model.logits(hidden)[0].numpy() - expected["seq.logits"]).max() < TOLERANCE
    for k, head_state in enumerate(model.mtp_states(hidden, ids)):
        wanted = expected[f"mtp.{k}.logits_{state}_hidden"]
        assert np.abs(model.lm_head(head_state)[0, : len(wanted)].numpy() - wanted).max() < TOLERANCE


@pytest.mark.parametrize("name", V2)
@torch.no_grad()
def test_the_inclusive_window_reading_equals_its_oracle(name):
    model, expected = oracle(name, window="inclusive")
    logits = model.logits(model(torch.from_numpy(expected["seq.input_ids"])[None]))[0]
    assert np.abs(logits.numpy() - expected["seq.logits_window_inclusive"]).max() < TOLERANCE


@torch.no_grad()
def test_the_language_part_of_a_seeing_model_equals_its_oracle_on_text():
    model, expected = oracle("mimo_vl_tiny")
    logits = model.logits(model(torch.from_numpy(expected["text_only.input_ids"])[None]))[0]
    assert np.abs(logits.numpy() - expected["text_only.logits"]).max() < TOLERANCE


@torch.no_grad()
def test_the_language_part_of_an_omni_model_equals_its_oracle_up_to_its_first_image():
    model, expected = oracle("mimo_v25_omni_tiny")  # four tokens come before the image, and see nothing of it
    logits = model.logits(model(torch.from_numpy(expected["input_ids"][:4])[None]))[0]
    assert np.abs(logits.numpy() - expected["logits"][:4]).max() < TOLERANCE


@torch.no_grad()
def test_padded_rows_of_a_batch_equal_the_oracle():
    model, expected = oracle("mimo_v2_flash_tiny")
    logits = model.logits(model(torch.from_numpy(expected["batch.input_ids"]))).numpy()
    for row, length in enumerate(expected["batch.lengths"]):
        assert np.abs(logits[row, :length] - expected["batch.logits"][row, :length]).max() < TOLERANCE


def small_model():
    model = new_model(parse_config(SMALL), seed=3)
    with torch.no_grad():  # zero output projections would hide every mistake inside a block
        for parameter in model.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(0, 0.3)
    return model.eval()


@torch.no_grad()
def test_branches_of_a_packed_row_equal_the_same_tokens_alone():
    model = small_model()
    stem, branches = [7, 3, 9, 4, 4, 21, 8], [[5, 6, 30, 2, 7, 7], [11, 12], [13, 14, 15]]
    zeros = [[0.0] * len(branch) for branch in branches]
    tree = Tree(stem, [Branch(ids, weights) for ids, weights in zip(branches, zeros, strict=True)])
    batch = pack([tree, Tree([1, 2], [Branch([3], [0.0])])], pad_id=0)
    packed = model(batch.ids_BT, batch.layout)[0]
    # Slots are 8 long and filled longest first: branch 1 with branch 2 behind it, then branch 3.
    for branch, start in zip(branches, (8, 14, 16), strict=True):
        alone = model(torch.tensor([stem + branch]))[0, 7:]
        assert torch.allclose(packed[start : start + len(branch)], alone, atol=1e-5)


@torch.no_grad()
def test_documents_packed_end_to_end_do_not_see_each_other():
    model = small_model()
    first, second = [7, 3, 9, 4, 4], [5, 6, 30]
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])
    documents = torch.tensor([[0] * 5 + [1] * 3])
    packed = model(torch.tensor([first + second]), Layout(positions, documents, torch.zeros_like(documents)))[0]
    assert torch.allclose(packed[5:], model(torch.tensor([second]))[0], atol=1e-5)


@torch.no_grad()
def test_attention_in_blocks_equals_attention_over_all_columns(monkeypatch):
    model = small_model()
    ids = torch.randint(50, (2, 14), generator=torch.Generator().manual_seed(0))
    whole = model(ids)
    monkeypatch.setattr(openmimo.model.attention, "BLOCK", 3)
    assert torch.allclose(model(ids), whole, atol=1e-5)


def test_rows_padded_for_bfloat16_products_change_no_loss_and_no_gradient(monkeypatch):
    model = small_model().train()
    batch = pack([Tree([7, 3, 9], [Branch([5, 6, 30, 2], [1.0, 0.1, 1.0, 0.0])])], pad_id=0)

    def losses_and_gradients():
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            losses = compute_losses(model, batch, LossWeights(mtp=0.0))
        losses.total.backward()
        slopes = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        return torch.tensor([losses.total.detach(), losses.trunk, losses.accuracy]), torch.cat(slopes)

    padded, padded_slopes = losses_and_gradients()
    monkeypatch.setattr(openmimo.model.moe, "ROW_GRID", 1)
    plain, plain_slopes = losses_and_gradients()
    assert torch.allclose(padded, plain, rtol=1e-3)
    assert torch.cosine_similarity(padded_slopes, plain_slopes, dim=0) > 0.999


@torch.no_grad()
def test_each_expert_runs_on_its_own_rows():
    moe = next(module for module in small_model().modules() if isinstance(module, MoE))
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    gates = moe.gate(x)
    hidden = F.silu(torch.einsum("btc,efc->btef", x, moe.gate_proj)) * torch.einsum("btc,efc->btef", x, moe.up_proj)
    assert torch.allclose(moe(x), torch.einsum("btef,ecf,bte->btc", hidden, moe.down_proj, gates), atol=1e-5)


def test_the_router_chooses_by_biased_score_and_mixes_by_plain_score():
    config = parse_config({**SMALL, "hidden_size": 2, "n_routed_experts": 3, "num_experts_per_tok": 1})
    router = Router(config).eval()
    with torch.no_grad():
        router.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, 0.0], [-5.0, 0.0]]))
        router.e_score_correction_bias.copy_(torch.tensor([0.0, 0.5, 0.0]))
    # Scores are sigmoid(2) = 0.88, sigmoid(1) = 0.73, ~0; with its bias the second wins and its weight is normalised.
    assert torch.allclose(router(torch.tensor([[[1.0, 0.0]]])), torch.tensor([[[0.0, 1.0, 0.0]]]))


def test_balancing_raises_the_bias_of_idle_experts_and_forgets_the_load():
    model = new_model(parse_config(SMALL), seed=0)
    router = next(module for module in model.modules() if isinstance(module, Router))
    router.load_E.copy_(torch.tensor([8.0, 0, 0, 0, 0, 0, 0, 0]))
    report = balance_bias(model, speed=0.25)
    assert router.e_score_correction_bias.tolist() == [-0.25] + [0.25] * 7
    assert report["load_worst"] == 8.0
    assert router.load_E.sum() == 0


def test_shift_left_moves_tokens_and_fills_the_end():
    assert shift_left(torch.tensor([[1, 2, 3]]), 2, fill=9).tolist() == [[3, 9, 9]]


@torch.no_grad()
def test_a_saved_model_loads_with_the_same_logits(tmp_path):
    model = small_model()
    save_checkpoint(tmp_path / "out", dict(SMALL), dict(published_tensors(model)))
    again = load_model(Checkpoint.open(tmp_path / "out"))
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    assert torch.equal(again(ids), model(ids))
