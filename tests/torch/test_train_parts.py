"""Parts of training by hand: packing of documents, schedules, num-zeros, expert load, copied MTP heads."""

import pytest
import torch

from openmimo.config import parse_config
from openmimo.errors import ConfigError, TrainingError
from openmimo.model.model import new_model
from openmimo.model.moe import Router, balance_bias
from openmimo.train.data import Branch, fill_rows, pack_documents
from openmimo.train.heads import copy_mtp_head
from openmimo.train.health import LoadWatch, expert_shares, num_zeros
from openmimo.train.lock import hold_folder
from openmimo.train.loss import LossWeights, compute_losses
from openmimo.train.optim import OptimConfig, make_optimizers
from openmimo.train.schedule import Piecewise, value_at
from tests.torch.test_model import SMALL


def document(*ids: int) -> Branch:
    return Branch(list(ids), [1.0] * len(ids))


def test_documents_lie_end_to_end_and_predict_only_themselves():
    batch = pack_documents([[document(4, 5, 6), document(7, 8)]], length=6, pad_id=0)
    assert batch.ids_BT.tolist() == [[4, 5, 6, 7, 8, 0]]
    assert batch.layout.positions_BT.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.layout.documents_BT.tolist() == [[0, 0, 0, 1, 1, -1]]
    ids, weights = batch.targets(1)
    assert ids[weights > 0].tolist() == [5, 6, 8]
    ids, weights = batch.targets(2)
    assert ids[weights > 0].tolist() == [6]


def test_a_stream_of_documents_fills_rows_and_long_ones_go_on_in_the_next():
    rows = list(fill_rows([document(1, 2), document(3, 4, 5, 6, 7), document(8)], length=4))
    assert [[member.ids for member in row] for row in rows] == [[[1, 2], [3, 4]], [[5, 6, 7], [8]]]
    assert [[member.ids for member in row] for row in fill_rows([document(*range(9))], length=4)] == [
        [[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8]],
    ]  # fmt: skip


def test_scheduled_settings_jump_at_their_points():
    weight = Piecewise(((0.0, 0.3), (0.8, 0.1)))
    assert [value_at(weight, progress) for progress in (0.0, 0.79, 0.8, 1.0)] == [0.3, 0.3, 0.1, 0.1]
    assert value_at(0.5, 0.9) == 0.5


def test_the_mtp_loss_counts_as_its_schedule_says():
    model = new_model(parse_config(SMALL, num_mtp_layers=1), seed=0).train()
    batch = pack_documents([[document(4, 5, 6, 7, 8)]], length=6, pad_id=0)
    early, late = (compute_losses(model, batch, LossWeights(balance=0.0), at) for at in (0.0, 0.9))
    assert early.total.item() == pytest.approx(early.trunk + 0.3 * early.mtp_K[0], abs=1e-5)
    assert late.total.item() == pytest.approx(late.trunk + 0.1 * late.mtp_K[0], abs=1e-5)


def one_expert_model():
    """Every token goes to expert 3 of each router."""
    model = new_model(parse_config({**SMALL, "num_experts_per_tok": 1, "norm_topk_prob": False}), seed=0).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                parameter.normal_(0, 0.1)
            if name.endswith("e_score_correction_bias"):
                parameter[3] = 10.0
    return model


def test_num_zeros_of_experts_without_tokens():
    model = one_expert_model()
    batch = pack_documents([[document(*range(4, 30))]], length=26, pad_id=0)
    compute_losses(model, batch, LossWeights(mtp=0.0, balance=0.0)).total.backward()
    counts = num_zeros(model)
    zeros, total = counts["experts"]
    assert zeros == total * 7 // 8  # seven of eight experts got nothing
    assert counts["router"] == (2 * 7 * 32, 2 * 8 * 32)  # the same rows of two routers
    assert expert_shares(model) == [[0, 0, 0, 1, 0, 0, 0, 0]] * 2
    balance_bias(model, speed=0.0)
    assert expert_shares(model) == [[0] * 8] * 2


def test_expert_loads_count_no_padding():
    model = new_model(parse_config(SMALL), seed=0).train()
    batch = pack_documents([[document(4, 5, 6), document(7, 8)], [document(9)]], length=8, pad_id=0)
    with torch.no_grad():
        model(batch.ids_BT, batch.layout)
    for router in (module for module in model.modules() if isinstance(module, Router)):
        assert router.load_E.sum() == 6 * SMALL["num_experts_per_tok"]  # six tokens of sixteen places


def test_a_parameter_without_gradient_counts_as_all_zero():
    model = new_model(parse_config(SMALL), seed=0)
    counts = num_zeros(model)
    assert all(zeros == total for zeros, total in counts.values())
    assert sum(total for _, total in counts.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_collapsed_experts_raise_one_alarm_and_one_all_clear():
    watch, bad, good = LoadWatch(window=4), [[0.5, 0.5, 0.0, 0.0]], [[0.25] * 4]
    assert [watch.look(bad) for _ in range(3)] == [None] * 3
    alarm = watch.look(bad)
    assert alarm is not None
    assert "2 of 4 experts of router 0" in alarm
    assert watch.look(bad) is None
    later = [watch.look(good) for _ in range(5)]
    assert [text for text in later if text] == ["all experts get tokens again"]


def test_balancing_recovers_from_collapse():
    model = one_expert_model()
    router = next(module for module in model.modules() if isinstance(module, Router))
    for _ in range(21):
        router.load_E.copy_(torch.tensor([0.0, 0, 0, 8, 0, 0, 0, 0]))
        balance_bias(model, speed=0.25)
    assert router.e_score_correction_bias[3] < router.e_score_correction_bias[0]


@torch.no_grad()
def test_one_head_becomes_three_that_begin_alike():
    model = new_model(parse_config(SMALL, num_mtp_layers=1), seed=0).eval()
    grown = copy_mtp_head(model)
    assert grown.config.num_mtp_layers == 3
    assert grown.config.published["num_nextn_predict_layers"] == 3
    ids = torch.tensor([[1, 2, 3, 4, 5, 6]])
    hidden = model(ids)
    assert torch.equal(grown(ids), hidden)
    (state,), states = model.mtp_states(hidden, ids), grown.mtp_states(hidden, ids)
    assert torch.equal(states[0], state)
    first, third = grown.heads[0].state_dict(), grown.heads[2].state_dict()
    assert all(torch.equal(first[name], third[name]) for name in first)
    with pytest.raises(ConfigError, match="has 3 MTP heads"):
        copy_mtp_head(grown)


def test_three_copied_heads_are_trained_jointly():
    grown = copy_mtp_head(new_model(parse_config(SMALL, num_mtp_layers=1), seed=0)).train()
    batch = pack_documents([[document(*range(4, 20))]], length=16, pad_id=0)
    compute_losses(grown, batch, LossWeights(mtp=0.3)).total.backward()
    gradients = [head.eh_proj.weight.grad for head in grown.heads]
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert not torch.equal(gradients[0], gradients[1])


def test_adamw_takes_everything_unless_muon_is_asked_for():
    model = new_model(parse_config(SMALL), seed=0)
    (adamw,) = make_optimizers(model, OptimConfig())
    assert sum(len(group["params"]) for group in adamw.param_groups) == len([*model.parameters()]) - 2  # two biases
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]
    assert (adamw.defaults["betas"], adamw.defaults["eps"]) == ((0.9, 0.95), 1e-8)
    muon, adamw = make_optimizers(model, OptimConfig(matrix_lr=0.02))
    assert all(p.ndim >= 2 for group in muon.param_groups for p in group["params"])


def test_a_run_folder_has_one_trainer_and_a_lock_left_behind_is_told(tmp_path):
    with hold_folder(tmp_path) as left_by:
        assert left_by is None
        with pytest.raises(TrainingError, match=r"in use by process \d+ on "), hold_folder(tmp_path):
            pass
    with hold_folder(tmp_path) as left_by:  # given back
        assert left_by is None
    (tmp_path / "lock").write_text("process 1 on elsewhere", encoding="utf-8")  # a killed one cannot give it back
    with hold_folder(tmp_path) as left_by:
        assert left_by == "process 1 on elsewhere"
