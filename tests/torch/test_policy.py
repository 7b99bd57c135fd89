"""The policy loss: its gradient is REINFORCE's, only own tokens learn, and the MTP heads leave the trunk alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openmimo.model.model import MiMo
from openmimo.train.credit import clipped_weights
from openmimo.train.loss import LossWeights
from openmimo.train.policy import PolicyStep, pack_rollouts, policy_losses, split_groups
from openmimo.train.rl import make_step
from openmimo.train.rollout import Rollout
from tests.torch.drill_model import tiny_model

PROMPT = [257, 40, 41, 42, 61]
ONLY_POLICY = LossWeights(mtp=0.0, balance=0.0)


def rollout(reply: list[int], reward: float, prompt: list[int] = PROMPT, tool: tuple[int, ...] = ()) -> Rollout:
    """A reply, perhaps with a tool result inside it that the model only read."""
    ids = [*prompt, *reply[:2], *tool, *reply[2:]]
    is_own = [False] * len(prompt) + [True] * 2 + [False] * len(tool) + [True] * (len(reply) - 2)
    logprobs = [-1.5 if own else 0.0 for own in is_own]
    return Rollout("sum", "sum", "1", ids, is_own, logprobs, None, reward, False, len(prompt))


def some_groups(tool: tuple[int, ...] = (70, 71, 72)) -> list[list[Rollout]]:
    return [
        [rollout([50, 51, 258], 1.0), rollout([52, 53, 54, 55], 0.0, tool=tool), rollout([50, 258], 0.0)],
        [rollout([60, 61], 0.25, [257, 33]), rollout([62, 63, 64], 0.75, [257, 33])],
    ]


def gradients(model: MiMo) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def run(step: PolicyStep, weights: LossWeights = ONLY_POLICY, **options):
    model = tiny_model().train()
    losses = policy_losses(model, step, weights, 0.0, **options)
    return losses, gradients(model)


def log_probability(model: MiMo, one: Rollout) -> torch.Tensor:
    """Of all own tokens of a rollout, run alone."""
    scores = torch.log_softmax(model.logits(model(torch.tensor([one.ids])))[0], -1)
    return torch.stack([scores[i - 1, one.ids[i]] for i, own in enumerate(one.is_own) if own])


def test_the_gradient_is_the_one_of_reinforce():
    _, found = run(make_step(some_groups(), 0, 10_000))
    model = tiny_model().train()
    # Rewards 1, 0, 0: mean 1/3, spread sqrt(2)/3. Groups of 9 and 5 own tokens, each half of the loss.
    spread = 2**0.5 / 3
    advantages = [(2 / 3 / spread, -1 / 3 / spread, -1 / 3 / spread), (-1.0, 1.0)]
    loss = torch.zeros(())
    for group, values, tokens in zip(some_groups(), advantages, (9, 5), strict=True):
        for one, advantage in zip(group, values, strict=True):
            loss = loss - advantage * log_probability(model, one).sum() / (2 * tokens)
    loss.backward()
    wanted = gradients(model)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name


def test_parts_add_up_to_the_whole():
    whole, together = run(make_step(some_groups(), 0, 10_000))
    step = make_step(some_groups(), 0, 1)
    assert len(step.parts) == 2
    in_parts, apart = run(step)
    assert in_parts.trunk == pytest.approx(whole.trunk, abs=1e-6)
    assert in_parts.figures["entropy"] == pytest.approx(whole.figures["entropy"], abs=1e-5)
    for name, gradient in together.items():
        assert torch.allclose(apart[name], gradient, atol=1e-6), name


def test_text_of_tools_is_read_but_never_a_target():
    step = make_step(some_groups(), 0, 10_000)
    (part,) = step.parts
    # The shorter group comes first.
    assert part.batch.ids_R.tolist() == [60, 61, 62, 63, 64, 50, 51, 258, 52, 53, 54, 55, 50, 258]
    assert part.batch.sequences_R.tolist() == [0] * 2 + [1] * 3 + [2] * 3 + [3] * 4 + [4] * 2
    packed, found = part.batch.packed, run(step)[0]
    places = (packed.ids_BT >= 70) & (packed.ids_BT <= 72)
    assert places.sum() == 3
    assert packed.weights_BT[places].tolist() == [0.0] * 3
    # As targets they do not count: with other ones in their place, and the same input, nothing changes.
    before = places.flatten().nonzero().squeeze(-1) - 1
    assert not set(before.tolist()) & set(part.batch.rows_R.tolist())
    # As input they do.
    assert found.trunk != run(make_step(some_groups(tool=(80, 71, 72)), 0, 10_000))[0].trunk


def test_states_predict_the_own_tokens_that_follow_them():
    batch = pack_rollouts(some_groups(), pad_id=0)
    flat = batch.packed.ids_BT.flatten()
    assert flat[batch.rows_R + 1].tolist() == batch.ids_R.tolist()
    first_of_each = [batch.rows_R[batch.sequences_R.tolist().index(n)] for n in range(batch.num_sequences)]
    assert flat[torch.stack(first_of_each)].tolist() == [61, 61, 61, 33, 33]


def test_heads_learn_from_a_trunk_that_does_not_learn_from_them():
    _, without = run(make_step(some_groups(), 0, 10_000))
    losses, with_heads = run(make_step(some_groups(), 0, 10_000), LossWeights(mtp=5.0, balance=0.0))
    assert losses.mtp_K[0] > 0
    for name, gradient in with_heads.items():
        if ".mtp" in name:
            assert gradient.abs().sum() > 0, name
        else:
            assert torch.equal(gradient, without[name]), name


def test_kl_to_the_start_is_zero_at_the_start_and_has_its_own_gradient():
    step = make_step(some_groups(), 0, 10_000)
    plain, without = run(step, start=tiny_model().eval())
    assert plain.figures["kl"] == pytest.approx(0.0, abs=1e-6)
    away, with_kl = run(step, start=tiny_model(seed=1).eval(), kl_weight=0.5)
    assert away.figures["kl"] > 0.01
    assert any(not torch.allclose(with_kl[name], without[name], atol=1e-4) for name in without)


def test_clipped_tokens_give_no_gradient():
    step = make_step(some_groups(), 0, 10_000)
    (part,) = step.parts
    far = replace(part.batch, sampled_R=torch.where(part.advantages_R > 0, -20.0, 0.0))
    losses, found = run(PolicyStep((replace(part, batch=far),)), weigh=clipped_weights)
    assert losses.figures["unused"] == pytest.approx(1.0)
    assert all(gradient.abs().sum() == 0 for gradient in found.values())


def test_experts_lie_where_their_tokens_do():
    groups = some_groups()
    for number, one in enumerate(one for group in groups for one in group):
        # Router 0 of token i gets experts i and number, router 1 the same in the other order.
        pairs = [[[i, number], [number, i]] for i in range(len(one.ids) - 1)]
        groups = [[replace(r, routes_TLK=np.array(pairs, np.uint8)) if r is one else r for r in g] for g in groups]
    batch = pack_rollouts(groups, pad_id=0)
    assert batch.routes_BTLK is not None
    routes_NLK, positions = batch.routes_BTLK.flatten(0, 1), batch.packed.layout.positions_BT.flatten()
    for row, number in zip(batch.rows_R.tolist(), batch.sequences_R.tolist(), strict=True):
        i = positions[row].item()
        assert routes_NLK[row].tolist() == [[i, number], [number, i]]
    # A stem is computed once for its group and takes the first sample's; padding and last tokens choose freely.
    stem = batch.packed.layout.stem_length
    assert batch.routes_BTLK[0, stem - 4 : stem, 0].tolist() == [[i, 0] for i in range(4)]
    assert batch.routes_BTLK[1, stem - 1, 0].tolist() == [0, 3]
    is_run = routes_NLK[:, 0, 0] >= 0
    assert is_run.sum() == 4 + 1 + (3 + 7 + 2) + (2 + 3)
    assert pack_rollouts(some_groups(), pad_id=0).routes_BTLK is None


def test_a_prompt_without_a_reply_does_not_take_the_experts_from_the_others():
    """It found no room in the context, so the engine never ran it."""
    wrote, empty = (
        rollout([50, 51, 258], 1.0),
        Rollout("", "", "2", [257, 33], [False] * 2, [0.0] * 2, None, 0.0, True, 2),
    )
    routed = replace(wrote, routes_TLK=np.ones((len(wrote.ids) - 1, 2, 2), np.uint8))
    routes_BTLK = pack_rollouts([[empty, empty], [routed, routed]], pad_id=0).routes_BTLK
    assert routes_BTLK is not None
    assert (routes_BTLK[0] == -1).all()
    assert (routes_BTLK[1, :, 0, 0] == 1).sum() == 4 + 2 * 3  # the stem once, then what each token was predicted by
    with pytest.raises(AssertionError, match="for all rollouts or none"):
        pack_rollouts([[wrote, routed]], pad_id=0)


def test_groups_of_like_length_go_together():
    groups = [[rollout([50] * length, 0.0)] for length in (40, 3, 41, 4)]
    assert split_groups(groups, 100) == [[1, 3], [0], [2]]
    assert split_groups(groups, 10_000) == [[1, 3, 0, 2]]
    assert split_groups(groups, 1) == [[1], [3], [0], [2]]
