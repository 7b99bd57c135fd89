"""The live table of domains: shares by hand, and each verdict where it belongs and nowhere else."""

from typing import Any

import pytest

from openmimo.train.domains import BY_DOMAIN, DomainStep, DomainWatch, domain_table


def step(**values: float) -> DomainStep:
    usual = {
        "kl": 0.1, "reward": 0.5, "tokens": 100, "pull": 1.0, "gradient": 1.0, "length": 10.0, "truncated": 0.0,
        "entropy": 0.6, "masked": 0.0, "outcome_ratio": 0.0,
    }  # fmt: skip
    return DomainStep(**{**usual, **values})  # type: ignore[arg-type]


def verdicts(watch: DomainWatch, steps: list[dict[str, DomainStep]]) -> list[str]:
    return [line for one in steps for line in watch.look(one)]


def test_shares_of_tokens_pull_and_gradient():
    table = domain_table({"long": step(tokens=1000, pull=1.0), "short": step(tokens=100, pull=3.0, kl=0.3)})
    assert table["token_share"] == pytest.approx({"long": 10 / 11, "short": 1 / 11})
    assert table["pull_share"] == pytest.approx({"long": 0.25, "short": 0.75})
    assert table["gradient_share"] == {"long": 0.5, "short": 0.5}
    assert table["kl"] == {"long": 0.1, "short": 0.3}


def test_a_starving_domain_is_told_once_and_a_learnt_one_never():
    start = {"loud": step(), "quiet": step(gradient=0.02), "done": step(gradient=0.02)}
    learnt = {**start, "done": step(gradient=0.02, kl=0.04)}
    found = verdicts(DomainWatch({}), [start, *[learnt] * 30])
    assert len(found) == 1
    assert found[0].startswith("quiet starves: 1.9% of the gradient while its KL is 0.100 of 0.100 nats")


def test_a_domain_with_itself_as_teacher_does_not_starve():
    assert not verdicts(DomainWatch({}), [{"loud": step(), "self": step(gradient=0.0, kl=0.0)}] * 30)


def test_falling_entropy_is_a_collapse_only_if_the_kl_does_not_fall():
    far = [{"a": step()}] + [{"a": step(entropy=0.2, kl=0.15)}] * 20
    near = [{"a": step()}] + [{"a": step(entropy=0.2, kl=0.05)}] * 20
    assert [line.partition(":")[0] for line in verdicts(DomainWatch({}), far)] == ["a collapses"]
    assert not verdicts(DomainWatch({}), near)


def test_an_outcome_above_three_times_the_teachers_signal_is_told():
    assert not verdicts(DomainWatch({}), [{"a": step(outcome_ratio=3.0)}] * 20)
    (found,) = verdicts(DomainWatch({}), [{"a": step(outcome_ratio=3.1)}] * 20)
    assert found == "a drowns: its outcome spreads 3.1 times as far as the teacher's signal; lower alpha"


def test_recovered_headroom_is_of_the_last_ten_steps():
    watch = DomainWatch({"a": (0.5, 0.9), "b": (0.5, 0.5)})
    assert watch.recovered("a") is None
    verdicts(watch, [{"a": step(reward=0.1), "b": step()}] + [{"a": step(reward=0.8), "b": step()}] * 10)
    assert watch.recovered("a") == pytest.approx(0.75)
    assert watch.recovered("b") is None


def logged(steps: list[dict[str, DomainStep]]) -> list[dict[str, Any]]:
    """What a run leaves in its log, among other records."""
    rows = [{name + BY_DOMAIN: row for name, row in domain_table(one).items()} for one in steps]
    return [record for row in rows for record in (row, {"step": 3, "sampled": {"a": 1.0}})]


@pytest.mark.parametrize("cut", [0, 1, 7, 12, 25])
def test_a_resumed_run_is_watched_as_an_unbroken_one(cut: int):
    """The quiet domain starves after ten steps of it; its KL is compared with that of the first step of all."""
    steps = [{"loud": step(), "quiet": step(kl=0.4)}]
    steps += [{"loud": step(reward=0.01 * n), "quiet": step(gradient=0.02, kl=0.3 - 0.002 * n)} for n in range(30)]
    rewards = {"loud": (0.1, 0.9), "quiet": (0.5, 0.5)}
    unbroken, resumed = DomainWatch(rewards), DomainWatch.from_log(rewards, logged(steps[:cut]))
    for number, one in enumerate(steps):
        found = unbroken.look(one)
        if number >= cut:
            assert resumed.look(one) == found
            assert resumed.recovered("loud") == pytest.approx(unbroken.recovered("loud"))
    assert bool(verdicts(resumed, steps[-1:])) is False


def test_a_logged_number_that_was_not_finite_is_none_again():
    (record, _) = logged([{"a": step()}])
    record["entropy by domain"]["a"] = None
    assert DomainWatch.from_log({"a": (0.0, 1.0)}, [record]).recovered("a") == pytest.approx(0.5)
