"""Routing replay: the engine reports the experts that torch would choose, and torch obeys the experts it is given."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.engine import Engine, SamplingParams
from openmimo.model.model import MiMo, load_model, new_model
from openmimo.model.moe import MoE, Router
from openmimo.native import NativeBackend

FLASH = Path(__file__).parents[1] / "oracles" / "mimo_v2_flash_tiny"
SMALL = {
    "model_type": "mimo_v2_flash", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 3, "hybrid_layer_pattern": [0, 1, 0], "moe_layer_freq": [1, 0, 1],
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 4,
    "n_routed_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "routed_scaling_factor": 1.5,
    "max_position_embeddings": 64, "layernorm_epsilon": 1e-5,
}  # fmt: skip


def prompts(count: int) -> list[list[int]]:
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, 40 + 9 * i).tolist() for i in range(count)]


def generate(weights="f32", num_pages=32, **settings):
    """Three requests at once: their tokens and the experts of each token."""
    params = SamplingParams(temperature=0.7, seed=5, max_new_tokens=60, ignore_eos=True, routes=True)
    backend = NativeBackend(Checkpoint.open(FLASH), weights, 1, 4, num_pages)
    with Engine(backend, **settings) as engine:
        handles = [engine.submit(prompt, params) for prompt in prompts(3)]
        done = [handle.result(60) for handle in handles]
    return [(p + list(c.token_ids), c.routes_TLK) for p, c in zip(prompts(3), done, strict=True)]


def own_choice(model: MiMo, ids: list[int]) -> np.ndarray:
    """Which experts torch gives a weight to, as booleans [T, sparse layers, E]."""
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, gates_BTE: seen.append(gates_BTE[0] > 0))
        for module in model.modules()
        if isinstance(module, Router)
    ]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack(seen, 1).numpy()


def test_the_engine_reports_the_experts_that_torch_chooses():
    model = load_model(Checkpoint.open(FLASH))
    for ids, routes_TLK in generate(mtp=2, prefill_rows=7):
        chosen_TLE = own_choice(model, ids[:-1])
        assert routes_TLK.dtype == np.uint8
        assert routes_TLK.shape == (*chosen_TLE.shape[:2], model.config.num_experts_per_tok)
        reported_TLE = np.zeros_like(chosen_TLE)
        np.put_along_axis(reported_TLE, routes_TLK.astype(np.int64), True, axis=2)
        assert (reported_TLE == chosen_TLE).all()


@pytest.mark.parametrize("weights", ["f32", "q4"])
def test_drafts_chunks_and_starting_over_leave_no_trace_in_the_experts(weights):
    plain = generate(weights, mtp="off")
    for settings in ({"mtp": 2, "prefill_rows": 5}, {"mtp": 1, "num_pages": 4}):  # four pages hold two of three
        for (ids, routes_TLK), (same_ids, same_TLK) in zip(plain, generate(weights, **settings), strict=True):
            assert ids == same_ids
            assert np.array_equal(routes_TLK, same_TLK)


def random_model() -> MiMo:
    model = new_model(parse_config(SMALL), seed=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # zero output projections would hide every mistake inside a block
        for parameter in model.parameters():
            if parameter.abs().sum() == 0:
                parameter.normal_(0, 0.3, generator=generator)
    return model.train()


def learn(model: MiMo, ids_BT: Tensor, routes_BTLK: Tensor | None):
    """Logits, gradients and expert loads of one pass."""
    model.zero_grad()
    logits = model.logits(model(ids_BT, routes_BTLK=routes_BTLK))
    (logits.square().mean() + sum(r.balance_loss for r in model.modules() if isinstance(r, Router))).backward()
    loads = [r.load_E.clone() for r in model.modules() if isinstance(r, Router)]
    for router in (r for r in model.modules() if isinstance(r, Router)):
        router.load_E.zero_()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [logits.detach(), *grads, *loads]


def test_replaying_its_own_choice_or_none_changes_nothing():
    model, ids_BT = random_model(), torch.arange(26).reshape(2, 13)
    plain = learn(model, ids_BT, None)
    chosen_BTLE = torch.stack([torch.from_numpy(own_choice(model, row.tolist())) for row in ids_BT])
    for router in (r for r in model.modules() if isinstance(r, Router)):
        router.load_E.zero_()
    own_BTLK = chosen_BTLE.float().topk(2, dim=-1).indices
    half = own_BTLK.clone()
    half[:, ::2] = -1
    for routes_BTLK in (own_BTLK, own_BTLK.flip(-1), torch.full_like(own_BTLK, -1), half):
        replayed = learn(model, ids_BT, routes_BTLK)
        assert len(replayed) == len(plain)
        assert all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))


def brute_force(moe: MoE, x_C: Tensor, experts: list[int]) -> Tensor:
    scores = [torch.sigmoid(moe.gate.weight[e] @ x_C) for e in experts]
    outputs = [moe.down_proj[e] @ (F.silu(moe.gate_proj[e] @ x_C) * (moe.up_proj[e] @ x_C)) for e in experts]
    return 1.5 * sum(s * y for s, y in zip(scores, outputs, strict=True)) / sum(scores)


def test_replayed_experts_get_the_routers_own_weights_and_gradient():
    moe = next(m for m in random_model().modules() if isinstance(m, MoE))
    x_BTC = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(4))
    free = [(moe.gate(x_BTC)[0, t] > 0).nonzero()[:, 0].tolist() for t in range(5)]
    foreign = [[e for e in range(6) if e not in free[t]][:2] for t in range(4)]  # never those that it would choose
    moe.gate.load_E.zero_()
    out_BTC = moe(x_BTC, torch.tensor([[*foreign, [-1, -1]]]))
    expected_TC = torch.stack([brute_force(moe, x_BTC[0, t], (foreign + free[4:])[t]) for t in range(5)])
    assert torch.allclose(out_BTC[0], expected_TC, atol=1e-5)
    loads = np.bincount([e for experts in foreign + free[4:] for e in experts], minlength=6)
    assert moe.gate.load_E.tolist() == loads.tolist()
    weights = [moe.gate.weight, moe.gate_proj, moe.down_proj]
    for got, wanted in zip(
        torch.autograd.grad(out_BTC.square().sum(), weights),
        torch.autograd.grad(expected_TC.square().sum(), weights),
        strict=True,
    ):
        assert torch.allclose(got, wanted, atol=1e-5)
        assert got[foreign[0][0]].abs().sum() > 0


def test_a_compiled_block_replays_without_breaking_its_graph():
    moe = next(m for m in random_model().modules() if isinstance(m, MoE))
    x_BTC, routes_BTK = torch.randn(2, 3, 16), torch.tensor([[[0, 1], [-1, -1], [4, 2]]]).expand(2, -1, -1)
    compiled = torch.compile(moe, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(x_BTC), moe(x_BTC))
    assert torch.equal(compiled(x_BTC, routes_BTK), moe(x_BTC, routes_BTK))
