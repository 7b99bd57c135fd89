"""A step of distillation on rollouts written by hand: which tokens are trained, by how much, and towards what."""

import pytest
import torch

from openmimo.model.model import MiMo
from openmimo.train.distill import MopdObjective
from openmimo.train.lessons import Lesson, MopdStep, mopd_losses
from openmimo.train.loss import LossWeights
from openmimo.train.policy import own_logits, pack_rollouts
from openmimo.train.rollout import Rollout
from openmimo.train.teachers import read_logits
from tests.torch.drill_model import tiny_model

NO_HEADS = LossWeights(mtp=0.0, balance=0.0)
FULL, SAMPLED = MopdObjective(), MopdObjective(is_full=False)


def model(seed: int = 0) -> MiMo:
    """Not every token is equally likely."""
    made = tiny_model(seed).train()
    with torch.no_grad():
        made.model.embed_tokens.weight *= 10
    return made


def episode(*turns: list[int], reward: float = 1.0) -> Rollout:
    """Tokens that are read and written in turn, the prompt first."""
    ids = [token for turn in turns for token in turn]
    own = [bool(number % 2) for number, turn in enumerate(turns) for _ in turn]
    return Rollout("", "", "", ids, own, [0.0] * len(ids), None, reward, False, len(turns[0]))


def lesson(student: MiMo, teacher: MiMo, groups: list[list[Rollout]], domain: str = "a", objective=FULL) -> Lesson:
    """What the teacher thinks, with the student as the sampler."""
    batch = pack_rollouts(groups, pad_id=0, multiple=2)
    with torch.no_grad():
        scores_RV = own_logits(student, batch)[1].log_softmax(-1)
    batch.sampled_R.copy_(scores_RV.gather(1, batch.ids_R[:, None]).squeeze(1))
    teacher_RV = read_logits(teacher, batch)
    teacher_R = teacher_RV.log_softmax(-1).gather(1, batch.ids_R[:, None]).squeeze(1)
    rollouts = tuple(rollout for group in groups for rollout in group)
    outcome_R = torch.tensor([rollout.reward for rollout in rollouts])[batch.sequences_R]
    return Lesson(domain, batch, rollouts, outcome_R, teacher_R, teacher_RV if objective.is_full else None)


def gradients(student: MiMo, lessons: list[Lesson], objective=FULL, weights=NO_HEADS) -> dict[str, torch.Tensor]:
    losses, _ = mopd_losses(student, MopdStep(tuple(lessons)), objective, weights)
    assert not losses.total.requires_grad
    return {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.allclose(value, wanted[name], atol=2e-6), name


GROUPS = [[episode([3, 4, 5], [6, 7], [8, 9], [10, 11]), episode([3, 4, 5], [12, 13, 14])], [episode([20, 21], [22])]]


@pytest.mark.parametrize("objective", [FULL, SAMPLED])
def test_a_teacher_equal_to_the_student_moves_nothing(objective):
    student = model()
    same = lesson(student, model(), GROUPS, objective=objective)
    assert torch.equal(same.teacher_R, same.batch.sampled_R)  # the same path and kernels: exactly 0 at every token
    losses, domains = mopd_losses(student, MopdStep((same,)), objective, NO_HEADS)
    assert abs(losses.figures["kl"]) < 1e-7
    assert domains["a"].pull == 0.0
    assert domains["a"].masked == 0.0
    assert domains["a"].gradient < 1e-6
    assert mopd_losses(student, MopdStep((lesson(student, model(1), GROUPS),)), FULL, NO_HEADS)[1]["a"].gradient > 0.1


@pytest.mark.parametrize("objective", [FULL, SAMPLED])
def test_the_loss_is_the_mean_over_sequences_of_the_mean_over_own_tokens(objective):
    student, taught = model(), lesson(model(), model(1), GROUPS, objective=objective)
    losses, _ = mopd_losses(student, MopdStep((taught,)), objective, NO_HEADS)
    logprobs_R = taught.batch.sampled_R
    if objective.is_full:
        values_R = torch.cat([
            (scores.exp() * (scores - theirs)).sum(-1)
            for scores, theirs in [
                (read_logits(student, taught.batch).log_softmax(-1), taught.teacher_RV.log_softmax(-1))
            ]
        ])  # fmt: skip
    else:
        values_R = -(taught.teacher_R - logprobs_R).clamp(-5, 5) * logprobs_R
    wanted = (values_R[:4].mean() + values_R[4:7].mean() + values_R[7:].mean()) / 3
    assert losses.trunk == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("objective", [FULL, SAMPLED])
def test_what_the_model_only_read_is_no_target(objective):
    """Another tool result behind the last own token changes nothing; one before it changes the prediction."""
    student, teacher = model(), model(1)

    def step(*turns: list[int]) -> dict[str, torch.Tensor]:
        return gradients(student, [lesson(student, teacher, [[episode(*turns)]], objective=objective)], objective)

    behind = [step([3, 4], [5, 6], result) for result in ([7, 8], [9, 10])]
    # How many rows an expert has decides how its product is summed, so other tokens may move the last bits.
    assert_close(*({name: value for name, value in found.items() if "embed_tokens" not in name} for found in behind))
    inside = [step([3, 4], [5, 6], result, [11]) for result in ([7, 8], [9, 10])]
    assert not torch.allclose(*(found["model.norm.weight"] for found in inside))


def test_lessons_in_parts_add_up_to_the_whole():
    student, teacher = model(), model(1)
    whole = gradients(student, [lesson(student, teacher, GROUPS)])
    assert_close(gradients(student, [lesson(student, teacher, [group]) for group in GROUPS]), whole)


def test_heads_learn_and_the_trunk_does_not_notice():
    student, teacher = model(), model(1)
    taught = [lesson(student, teacher, GROUPS)]
    alone, along = gradients(student, taught), gradients(student, taught, weights=LossWeights(mtp=0.5, balance=0.0))
    trunk = {name: value for name, value in along.items() if ".mtp" not in name}
    assert_close(trunk, {name: value for name, value in alone.items() if ".mtp" not in name})
    heads = [value for name, value in along.items() if ".mtp" in name]
    assert sum(value.abs().sum() for value in heads) > 0


def test_masked_tokens_give_no_gradient():
    student, teacher = model(), model(1)
    taught = lesson(student, teacher, GROUPS, objective=SAMPLED)
    taught.batch.sampled_R[:] += 1.0  # the sampler found each token 2.7 times as likely
    losses, domains = mopd_losses(student, MopdStep((taught,)), SAMPLED, NO_HEADS)
    assert losses.trunk == 0.0
    assert domains["a"].masked == 1.0
    assert domains["a"].gradient == 0.0


def test_a_domain_of_long_answers_has_the_tokens_and_not_the_gradient():
    student, teacher = model(), model(1)
    generator = torch.Generator().manual_seed(0)
    long, short = (
        [[episode([3, 4], torch.randint(5, 50, (size,), generator=generator).tolist())] for _ in range(6)]
        for size in (30, 3)
    )
    lessons = tuple(lesson(student, teacher, groups, name) for name, groups in (("long", long), ("short", short)))
    _, domains = mopd_losses(student, MopdStep(lessons), FULL, NO_HEADS)
    assert (domains["long"].tokens, domains["short"].tokens) == (180, 18)
    assert domains["long"].pull / domains["short"].pull == pytest.approx(1.0, abs=0.35)
    assert domains["short"].gradient > domains["long"].gradient  # fewer tokens average out less


def test_scales_even_out_what_domains_pull():
    student = model()
    loud, quiet = lesson(student, model(1), GROUPS, "loud"), lesson(student, model(), GROUPS, "quiet")
    quiet.teacher_R.add_(0.01 * torch.randn(8, generator=torch.Generator().manual_seed(0)))
    plain = mopd_losses(student, MopdStep((loud, quiet)), FULL, NO_HEADS)[1]
    scaled = mopd_losses(student, MopdStep((loud, quiet)), MopdObjective(has_scales=True), NO_HEADS)[1]
    assert scaled["quiet"].pull == pytest.approx(4.0 * plain["quiet"].pull, rel=1e-4)  # the limit
    lowered = scaled["loud"].pull / plain["loud"].pull
    assert scaled["loud"].gradient == pytest.approx(lowered * plain["loud"].gradient, rel=1e-4)
    assert 0.25 <= lowered <= 1.0


def test_the_outcome_is_not_limited_with_the_log_ratio():
    """One token that the teacher finds impossible: its advantage is -5 and half of an outcome of 2."""
    student = model()
    taught = lesson(student, model(1), [[episode([3, 4], [5], reward=2.0)]], objective=SAMPLED)
    taught.teacher_R.fill_(-1e4)
    step = MopdStep((taught,))
    domains = mopd_losses(student, step, MopdObjective(alpha=0.5, is_full=False), NO_HEADS)[1]
    assert domains["a"].pull == pytest.approx(4.0)


def test_one_token_that_the_teacher_finds_impossible_does_not_take_over_the_gradient():
    student, generator = model(), torch.Generator().manual_seed(0)
    groups = [[episode([3, 4], torch.randint(5, 50, (6,), generator=generator).tolist())] for _ in range(20)]

    def norms(limit: float) -> tuple[float, float]:
        """Of the gradient, with the teacher as it is and with one of its 120 opinions gone mad."""
        objective = MopdObjective(is_full=False, max_advantage=limit)
        taught = lesson(student, model(1), groups, objective=objective)
        before = mopd_losses(student, MopdStep((taught,)), objective, NO_HEADS)[1]["a"].gradient
        taught.teacher_R[50] = -1e4
        return before, mopd_losses(student, MopdStep((taught,)), objective, NO_HEADS)[1]["a"].gradient

    before, after = norms(5.0)
    assert after == pytest.approx(before, rel=0.25)
    before, after = norms(1e9)
    assert after > 10 * before  # what the limit is for


def test_the_outcome_is_added_to_the_teacher_and_told_beside_it():
    student = model()
    groups = [[episode([3, 4], [5, 6], reward=1.0), episode([3, 4], [7, 8], reward=-1.0)]]
    taught = lesson(student, model(), groups)  # the teacher has nothing to say, so only the outcome speaks
    alone = gradients(student, [taught], MopdObjective(alpha=0.5))
    assert max(value.abs().max() for value in alone.values()) > 1e-3
    far = lesson(student, model(1), groups)
    ratio = mopd_losses(student, MopdStep((far,)), MopdObjective(alpha=2.0), NO_HEADS)[1]["a"].outcome_ratio
    assert ratio == pytest.approx(2.0 / (far.teacher_R - far.batch.sampled_R).std(correction=0).item(), rel=1e-4)
