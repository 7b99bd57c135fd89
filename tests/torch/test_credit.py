"""Credit, by hand."""

import math

import pytest
import torch

from openmimo.train.credit import (
    clipped_weights,
    difficulty_levels,
    graded_rewards,
    group_advantages,
    group_scales,
    has_signal,
    truncated_weights,
)


def test_advantages_have_mean_zero_and_spread_one():
    assert group_advantages([1.0, 0.0, 0.0, 0.0]) == pytest.approx([math.sqrt(3)] + [-1 / math.sqrt(3)] * 3)
    assert group_advantages([1.0, 0.0]) == pytest.approx([1.0, -1.0])
    # Partial rewards: mean 0.5, squared distances 0.25, 0, 0, 0.25.
    assert group_advantages([1.0, 0.5, 0.5, 0.0]) == pytest.approx([math.sqrt(2), 0, 0, -math.sqrt(2)])


@pytest.mark.parametrize("rewards", [[0.0] * 4, [1.0] * 4, [0.3, 0.3 + 1e-9], [0.7]])
def test_equal_rewards_say_nothing(rewards: list[float]):
    assert not has_signal(rewards)
    assert group_advantages(rewards) == [0.0] * len(rewards)


def test_rewards_that_differ_have_signal():
    assert has_signal([0.0, 0.0, 0.0, 1.0])
    assert has_signal([0.5, 0.51])


def test_all_tokens_of_a_group_count_the_same_and_all_groups_do():
    assert group_scales([8, 2]) == [1 / 16, 1 / 4]
    assert 8 * (1 / 16) + 2 * (1 / 4) == 1.0


def test_a_group_that_wrote_nothing_divides_by_nothing():
    assert group_scales([0]) == [1.0]


RATIOS = torch.tensor([0.5, 0.9, 1.0, 1.2, 1.3, 3.0])


def test_clip_higher_stops_what_went_far_enough_and_never_what_goes_back():
    old = torch.full((6,), -1.0)
    better = clipped_weights(old + RATIOS.log(), old, torch.ones(6))
    assert better.tolist() == pytest.approx([0.5, 0.9, 1.0, 1.2, 0.0, 0.0])
    worse = clipped_weights(old + RATIOS.log(), old, -torch.ones(6))
    assert worse.tolist() == pytest.approx([0.0, 0.9, 1.0, 1.2, 1.3, 3.0])


def test_clipped_weights_have_the_gradient_of_the_clipped_objective():
    old = torch.full((6,), -1.0)
    for sign in (1.0, -1.0):
        advantages = torch.full((6,), sign * 0.7)
        logprobs = (old + RATIOS.log()).requires_grad_()
        ratios = (logprobs - old).exp()
        torch.minimum(ratios * advantages, ratios.clamp(0.8, 1.28) * advantages).sum().backward()
        wanted = logprobs.grad
        weights = clipped_weights(logprobs, old, advantages)
        assert not weights.requires_grad
        assert torch.allclose(weights * advantages, wanted)


def test_a_ratio_beyond_all_bounds_is_clipped_and_no_nan():
    """exp(100) is infinite in float32."""
    now, old = torch.tensor([0.0, -1.0]), torch.tensor([-100.0, -1.0])
    assert clipped_weights(now, old, torch.ones(2)).tolist() == [0.0, 1.0]
    assert truncated_weights(now, old).tolist() == [2.0, 1.0]


def test_stale_tokens_weigh_their_ratio_up_to_a_limit():
    sampled = torch.full((6,), -2.0)
    weights = truncated_weights(sampled + RATIOS.log(), sampled, most=2.0)
    assert weights.tolist() == pytest.approx([0.5, 0.9, 1.0, 1.2, 1.3, 2.0])


# Tests 0 and 2 are passed by 3 of 4 samples, test 1 by 2, test 3 by 1: three levels.
PASSED = [[True, True, True, True], [True, True, True, False], [True, False, True, False], [False, False, False, False]]


def test_tests_that_as_many_samples_pass_are_one_level():
    assert difficulty_levels(PASSED) == [[0, 2], [1], [3]]
    assert difficulty_levels([[True, False], [False, True]]) == [[0, 1]]


def test_soft_grading_pays_every_test_and_strict_only_whole_levels_in_order():
    assert graded_rewards(PASSED, "soft") == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert graded_rewards(PASSED, "strict") == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    gaps = [[True, True, True, True], [True, True, True, False], [True, False, False, True], [True, True, False, False]]
    # Passed by 4, 3, 2 and 2 samples. The third fails the second level, so half of the third pays softly only.
    assert difficulty_levels(gaps) == [[0], [1], [2, 3]]
    assert graded_rewards(gaps, "soft") == pytest.approx([1.0, 2.5 / 3, 1.5 / 3, 2 / 3])
    assert graded_rewards(gaps, "strict") == pytest.approx([1.0, 2 / 3, 1 / 3, 2 / 3])
