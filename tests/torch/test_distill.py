"""The MOPD objective in closed form: tables of probabilities, no model."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from openmimo.train.distill import (
    MopdObjective,
    distillation_advantages,
    domain_scales,
    masked_weights,
    reverse_kl,
    sampled_loss,
    sequence_mean,
)

TEACHER = torch.tensor([0.5, 0.25, 0.15, 0.08, 0.02], dtype=torch.float64).log()
STUDENT = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.4], dtype=torch.float64).log().log_softmax(-1)


def expected_loss(logits_V: Tensor, teacher_V: Tensor, max_advantage: float = 50.0) -> Tensor:
    """L_MOPD at one state, the mean over the student's tokens taken exactly."""
    logprobs_V = logits_V.log_softmax(-1)
    advantages_V = distillation_advantages(teacher_V, logprobs_V, max_advantage)
    losses_V = sampled_loss(logprobs_V, torch.ones(5), advantages_V)
    return (logprobs_V.detach().exp() * losses_V).sum()


def gradient(loss_of, *args) -> Tensor:
    logits_V = STUDENT.clone().requires_grad_()
    loss_of(logits_V, *args).backward()
    assert logits_V.grad is not None
    return logits_V.grad


def descend(loss_of, steps: int = 200, rate: float = 1.0) -> tuple[Tensor, list[float]]:
    logits_V, kls = STUDENT.clone().requires_grad_(), []
    for _ in range(steps):
        kls.append(reverse_kl(logits_V, TEACHER).item())
        (grad_V,) = torch.autograd.grad(loss_of(logits_V), logits_V)
        logits_V = (logits_V - rate * grad_V).detach().requires_grad_()
    return logits_V.softmax(-1).detach(), kls


@pytest.mark.parametrize(
    ("asked", "vocab_size", "has_servers", "chosen"),
    [(None, 2048, False, True), (None, 151_680, False, False), (None, 2048, True, False), (True, 151_680, False, True),
     (False, 64, False, False)],
)  # fmt: skip
def test_the_form_follows_the_vocabulary_unless_it_is_said(asked, vocab_size, has_servers, chosen):
    assert MopdObjective(is_full=asked).for_vocabulary(vocab_size, has_servers).is_full is chosen


@pytest.mark.parametrize("form", ["sampled", "full"])
def test_a_tabular_student_becomes_its_teacher_and_every_step_lowers_the_kl(form):
    loss_of = reverse_kl if form == "full" else expected_loss
    student_V, kls = descend(lambda logits_V: loss_of(logits_V, TEACHER))
    assert kls[0] == pytest.approx((STUDENT.exp() * (STUDENT - TEACHER)).sum().item())
    assert all(after < before for before, after in pairwise(kls))
    assert (student_V - TEACHER.exp()).abs().max() < 1e-2


def test_a_student_that_samples_becomes_its_teacher_too():
    generator, logits_V = torch.Generator().manual_seed(0), STUDENT.clone()
    for _ in range(200):
        logits_V.requires_grad_()
        logprobs_V = logits_V.log_softmax(-1)
        tokens_R = torch.multinomial(logprobs_V.detach().exp(), 512, replacement=True, generator=generator)
        logprobs_R, teacher_R = logprobs_V[tokens_R], TEACHER[tokens_R]
        weights_R = masked_weights(logprobs_R, logprobs_R.detach(), (0.5, 2.0))
        loss = sampled_loss(logprobs_R, weights_R, distillation_advantages(teacher_R, logprobs_R, 5.0)).mean()
        (grad_V,) = torch.autograd.grad(loss, logits_V)
        logits_V = (logits_V - grad_V).detach()
    assert (logits_V.softmax(-1) - TEACHER.exp()).abs().max() < 1e-2


def test_the_sampled_form_has_the_gradient_of_the_full_kl():
    assert torch.allclose(gradient(expected_loss, TEACHER), gradient(reverse_kl, TEACHER), atol=1e-12)


def test_a_wrong_sign_leads_away_from_the_teacher():
    """What the first test would see if the ratio were turned round."""
    _, kls = descend(lambda logits_V: -expected_loss(logits_V, TEACHER), steps=20)
    assert all(after > before for before, after in pairwise(kls))


def test_the_gradient_knows_the_teacher():
    """Differentiating log pi - log pi_teacher at a sampled token gives a gradient in which no teacher is left."""

    def raw(logits_V: Tensor, teacher_V: Tensor) -> Tensor:
        return (logits_V.log_softmax(-1) - teacher_V)[2]

    other = TEACHER.flip(0)
    assert torch.equal(gradient(raw, TEACHER), gradient(raw, other))
    assert not torch.allclose(gradient(expected_loss, TEACHER), gradient(expected_loss, other), atol=0.1)


def test_a_teacher_equal_to_the_student_teaches_nothing():
    assert distillation_advantages(STUDENT, STUDENT, 5.0).tolist() == [0.0] * 5
    assert gradient(expected_loss, STUDENT).tolist() == [0.0] * 5
    assert gradient(reverse_kl, STUDENT).abs().max() < 1e-15


def test_wrong_labels_in_a_tenth_of_the_prompts_show():
    """The student ends at the geometric mean of both teachers, visibly off its own one."""
    other = TEACHER.flip(0)

    def mislabelled(logits_V: Tensor) -> Tensor:
        return 0.9 * expected_loss(logits_V, TEACHER) + 0.1 * expected_loss(logits_V, other)

    student_V, kls = descend(mislabelled, steps=400)
    assert torch.allclose(student_V, (0.9 * TEACHER + 0.1 * other).softmax(-1), atol=1e-3)
    assert kls[-1] > 0.01
    assert descend(lambda logits_V: expected_loss(logits_V, TEACHER), steps=400)[1][-1] < 1e-4


def test_the_full_kl_is_never_negative_and_zero_for_equals():
    generator = torch.Generator().manual_seed(1)
    student_RV, teacher_RV = torch.randn(2, 200, 7, generator=generator, dtype=torch.float64) * 5
    assert (reverse_kl(student_RV, teacher_RV) > 0).all()
    assert reverse_kl(student_RV, student_RV + 3.0).abs().max() < 1e-12  # logits are free up to a constant


def test_tokens_outside_the_bounds_are_masked_and_not_clamped():
    sampled_R = torch.zeros(5)
    ratios = torch.tensor([0.49, 0.5, 1.0, 2.0, 2.01])
    weights_R = masked_weights(ratios.log(), sampled_R, (0.5, 2.0))
    assert weights_R.tolist() == pytest.approx([0.0, 0.5, 1.0, 2.0, 0.0])
    logits_RV = torch.zeros(5, 3, requires_grad=True)
    logprobs_R = logits_RV.log_softmax(-1)[:, 0]
    sampled_loss(logprobs_R, weights_R, torch.ones(5)).sum().backward()
    assert logits_RV.grad is not None
    assert logits_RV.grad[[0, 4]].tolist() == [[0.0] * 3] * 2
    assert (logits_RV.grad[1:4].abs().sum(-1) > 0).all()


def test_a_ratio_beyond_all_bounds_is_masked_and_no_nan():
    """exp(100) is infinite in float32."""
    assert masked_weights(torch.tensor([0.0, -1.0]), torch.tensor([-100.0, -1.0]), (0.5, 2.0)).tolist() == [0.0, 1.0]


def test_one_update_masks_nothing_and_a_stale_student_more_the_older_it_is():
    generator = torch.Generator().manual_seed(2)
    logits_RV = torch.randn(400, 6, generator=generator)
    drift_RV = torch.randn(400, 6, generator=generator)
    tokens_R = torch.multinomial(logits_RV.softmax(-1), 1, generator=generator).squeeze(-1)

    def masked_share(updates: int) -> float:
        now_RV = logits_RV + 0.15 * updates * drift_RV
        picked = (logits.log_softmax(-1).gather(1, tokens_R[:, None]).squeeze(-1) for logits in (now_RV, logits_RV))
        return (masked_weights(*picked, (0.5, 2.0)) == 0).float().mean().item()

    shares = [masked_share(updates) for updates in (0, 2, 4, 8)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    assert shares[-1] > 0.2


def test_an_impossible_token_does_not_drown_the_others():
    teacher_R = torch.tensor([-1.1, -0.9, -1e4])
    student_R = torch.full((3,), -1.0)
    assert distillation_advantages(teacher_R, student_R, 5.0)[2] == -5.0
    assert distillation_advantages(-teacher_R, student_R, 5.0)[2] == 5.0


def test_in_the_full_form_an_impossible_token_counts_by_its_probability():
    """d KL / d logit = p (log-ratio - KL), so what the student hardly ever writes does not matter either."""
    likely = torch.tensor([0.7, 0.3 - 1e-6, 1e-6], dtype=torch.float64)
    logits_V, teacher_V = likely.log().requires_grad_(), torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64).log()
    teacher_V[2] = -1e4
    kl = reverse_kl(logits_V, teacher_V)
    kl.backward()
    assert logits_V.grad is not None
    ratios_V = likely.log() - teacher_V.log_softmax(-1)
    assert logits_V.grad.tolist() == pytest.approx((likely * (ratios_V - kl.detach())).tolist(), abs=1e-9)
    assert logits_V.grad[2].item() == pytest.approx(0.01, rel=0.01)


def test_a_long_answer_counts_as_much_as_a_short_one():
    """Domain 0 writes ten times the tokens of domain 1: ten parts in eleven of the tokens, half of the gradient."""
    sequences_R = torch.tensor([0] * 100 + [1] * 10)
    logprobs_R = torch.zeros(110, requires_grad=True)
    sequence_mean(logprobs_R, sequences_R, 2).backward()
    assert logprobs_R.grad is not None
    assert logprobs_R.grad[:100].sum().item() == pytest.approx(0.5)
    assert logprobs_R.grad[100:].sum().item() == pytest.approx(0.5)


def test_sequences_without_tokens_add_nothing():
    assert sequence_mean(torch.tensor([2.0, 4.0]), torch.tensor([0, 2]), 3).item() == pytest.approx(2.0)


def test_scales_even_out_loud_and_quiet_domains_within_their_bounds():
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(3, 1000, generator=generator)
    noise = (noise - noise.mean(1, keepdim=True)) / noise.std(1, correction=0, keepdim=True)
    ratios_R = torch.cat([noise[0] * 2.0, noise[1], noise[2] * 1e-3])
    domains_R = torch.arange(3).repeat_interleave(1000)
    overall = ((4.0 + 1.0 + 1e-6) / 3) ** 0.5
    assert domain_scales(ratios_R, domains_R, 3).tolist() == pytest.approx([overall / 2, overall, 4.0], rel=1e-4)
    scaled = ratios_R * domain_scales(ratios_R, domains_R, 3)[domains_R]
    assert scaled[:1000].std().item() == pytest.approx(scaled[1000:2000].std().item(), rel=1e-3)
    assert domain_scales(torch.zeros(4), torch.tensor([0, 0, 1, 1]), 3).tolist() == [1.0, 1.0, 1.0]
