"""Refusals and warnings before distillation: swapped ids, another template, another end, a far or useless teacher."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openmimo.chat import chat_template
from openmimo.checkpoint import save_checkpoint
from openmimo.config import parse_config
from openmimo.errors import ConfigError
from openmimo.model.model import new_model, published_tensors
from openmimo.tokenizer import Tokenizer, train_tokenizer
from openmimo.train.preflight import (
    Played,
    Preflight,
    check_domain,
    find_conflicts,
    find_other_texts,
    read_fingerprint,
)
from openmimo.train.rollout import Rollout
from tests.torch.test_model import SMALL
from tests.torch.test_train_command import CONTROL_TOKENS

Change = Callable[[dict, dict, dict], None]
"""Changes a checkpoint's config, tokenizer and settings in place."""


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Callable[..., Path]:
    """Writes checkpoints that differ as a function says."""
    tokenizer = train_tokenizer(["Go home. Done. there"], 400, CONTROL_TOKENS)
    size = tokenizer.get_vocab_size()

    def write(change: Change = lambda config, words, settings: None) -> Path:
        config = {**SMALL, "vocab_size": size, "eos_token_id": size - 11, "pad_token_id": size - 13}
        words = json.loads(tokenizer.to_str())
        settings = {"chat_template": chat_template("default"), "eos_token": "<|im_end|>"}
        change(config, words, settings)
        files = {"tokenizer.json": json.dumps(words), "tokenizer_config.json": json.dumps(settings)}
        folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
        save_checkpoint(folder, config, dict(published_tensors(new_model(parse_config(config), seed=0))), files)
        return folder

    return write


def swap_ids(_config: dict, words: dict, _settings: dict) -> None:
    vocab = words["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def swap_control(_config: dict, words: dict, _settings: dict) -> None:
    first, second = words["added_tokens"][3:5]
    first["content"], second["content"] = second["content"], first["content"]


def another_size(config: dict, _words: dict, _settings: dict) -> None:
    config["vocab_size"] += 3


def other_end(config: dict, _words: dict, _settings: dict) -> None:
    config["eos_token_id"] += 1


def other_template(_config: dict, _words: dict, settings: dict) -> None:
    settings["chat_template"] = settings["chat_template"].replace("<|im_start|>", "<|im_start|> ")


def test_equal_checkpoints_have_no_conflicts(make):
    student, teacher = make(), make()
    assert find_conflicts(student, teacher) == []
    assert read_fingerprint(student) == read_fingerprint(teacher)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (swap_ids, "for b'b', the student for b'a'"),
        (swap_control, "other control tokens"),
        (another_size, "token ids, the student"),
        (other_end, "ends replies with token ids"),
        (other_template, "writes conversations in another way"),
    ],
)
def test_a_teacher_of_other_tokens_is_refused(make, change, reason):
    """All but one have vocabularies of one size."""
    conflicts = find_conflicts(make(), make(change))
    assert any(reason in line for line in conflicts), conflicts
    with pytest.raises(ConfigError, match="cannot teach this student"):
        Preflight(tuple(conflicts)).raise_if_refused()


def test_a_server_of_other_tokens_is_found_by_their_texts(make):
    tokenizer = Tokenizer.load(make())
    ids = tokenizer.encode("Go home é")
    texts = [tokenizer.decode([token_id]) for token_id in ids]
    assert find_other_texts("S", tokenizer, ids, texts) == []
    assert any("\ufffd" in text for text in texts)  # halves of é, which servers spell as they like
    texts[0] = "Stop"
    assert find_other_texts("S", tokenizer, ids, texts)[0].startswith(
        f"S takes token id {ids[0]} for 'Stop', the student"
    )


def logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def test_kl_overlap_and_mass_by_hand():
    student = logits(0.4, 0.3, 0.1, 0.08, 0.06, 0.05, 0.01)
    teacher = logits(0.3, 0.4, 0.1, 0.08, 0.01, 0.06, 0.05)
    check = check_domain("sums", student, teacher, Played(0.5, 7.0, 0.25), Played(0.8, 9.0, 0.0))
    expected = 0.4 * torch.log(torch.tensor(4 / 3)) + 0.3 * torch.log(torch.tensor(0.75))
    expected += (
        0.06 * torch.log(torch.tensor(6.0))
        + 0.05 * torch.log(torch.tensor(5 / 6))
        + 0.01 * torch.log(torch.tensor(0.2))
    )
    assert check.kl == pytest.approx(expected.item(), abs=1e-6)
    assert check.overlap == pytest.approx(0.8)
    assert check.shared_mass == pytest.approx(0.89 / 0.94)
    assert check.headroom == pytest.approx(0.3)
    assert (check.student_length, check.teacher_length) == (7.0, 9.0)
    assert (check.student_truncated, check.teacher_truncated) == (0.25, 0.0)
    by_hand = -sum(p * math.log(p) for p in (0.4, 0.3, 0.1, 0.08, 0.06, 0.05, 0.01))
    assert check.student_entropy == pytest.approx(by_hand, abs=1e-5)
    assert check.teacher_entropy == pytest.approx(by_hand, abs=1e-5)  # the same numbers in another order


def test_what_was_played_is_summed_up():
    def rollout(length: int, reward: float) -> Rollout:
        own = [False, False, *[True] * length]
        return Rollout("", "", "", [0] * len(own), own, [0.0] * len(own), None, reward, length > 3, 2)

    assert Played.of([rollout(2, 1.0), rollout(4, 0.0)]) == Played(0.5, 3.0, 0.5, 2, 0.5)
    assert Played.of([rollout(2, 1.0)]).spread is None


def test_few_tasks_do_not_tell_who_is_better():
    near = logits(0.5, 0.3, 0.2)

    def warned(teacher_reward: float) -> list[str]:
        student, teacher = Played(0.5, 7.0, 0.0, 12, 0.03), Played(teacher_reward, 7.0, 0.0, 12, 0.04)
        return check_domain("a", near, near, student, teacher).warnings

    assert warned(0.51) == []
    (doubtful,) = warned(0.45)  # half of the interval is 1.96 * sqrt(0.03^2 + 0.04^2) = 0.098
    assert doubtful.startswith("a: the teacher did no better than the student, -5.0 ± 9.8 points in 12 tasks, too few")
    (sure,) = warned(0.40)
    assert sure == "a: the teacher is no better than the student, -10.0 ± 9.8 points in 12 tasks: make it 'self'"
    assert "| -10.0% ± 9.8 |" in Preflight((), (check_domain("a", near, near, Played(0.5, 7.0, 0.0, 12, 0.03),
                                                             Played(0.4, 7.0, 0.0, 12, 0.04)),)).as_text()  # fmt: skip


HALF, BETTER = Played(0.5, 7.0, 0.25), Played(0.8, 9.0, 0.0)


def test_a_far_teacher_and_a_useless_one_are_warned_of():
    near, far = logits(0.5, 0.3, 0.2), logits(0.05, 0.05, 0.9)
    assert check_domain("a", near, near, HALF, BETTER).warnings == []
    (warning,) = check_domain("a", near, far, HALF, BETTER).warnings
    assert warning.startswith("a: the teacher is far off, 1.39 nats a token (over 0.2)")
    assert check_domain("a", near, near, HALF, HALF).warnings == [
        "a: the teacher is no better than the student: make it 'self'"
    ]
    assert check_domain("a", near, near, HALF, HALF, is_self=True).warnings == []
    report = Preflight((), (check_domain("a", near, far, HALF, BETTER), check_domain("b", near, near))).as_text()
    counts = "7.0, 9.0 | 25.0%, 0.0% | 1.030, 0.394"
    assert report.splitlines()[2] == f"| a | 1.388 | 100.0% | 100.0% | 50.0% | 80.0% | 30.0% | {counts} |"
    assert report.splitlines()[3] == "| b | 0.000 | 100.0% | 100.0% | - | - | - | -, - | -, - | 1.030, 1.030 |"
    assert report.splitlines()[-1].startswith("warning: a: the teacher is far off")


def test_a_teacher_that_likes_other_tokens_is_warned_of():
    """It leaves the student's five likely tokens 80% of their probability; the KL alone would not be told."""
    student = logits(*[0.198] * 5, 0.01)
    teacher = logits(*[0.1584] * 5, 0.208)
    check = check_domain("a", student, teacher)
    assert check.kl < 0.2
    (warning,) = check.warnings
    assert warning.startswith("a: the teacher leaves what the student would write 80% of its probability (under 90%)")


def test_a_report_is_kept_whole_and_older_ones_are_read(tmp_path, make):
    near = logits(0.5, 0.3, 0.2)
    report = Preflight((), (check_domain("a", near, near, HALF, BETTER),), read_fingerprint(make()))
    report.save(tmp_path / "preflight.json")
    data = json.loads((tmp_path / "preflight.json").read_text())
    assert Preflight.from_data(data) == report
    assert [path.name for path in tmp_path.iterdir()] == ["preflight.json"]
    old = {"domain": "a", "num_tokens": 3, "kl": 0.1, "overlap": 0.9, "shared_mass": 0.95, "student_reward": 0.5,
           "teacher_reward": 0.6, "is_self": False, "headroom": 0.1}  # fmt: skip
    read = Preflight.from_data({"refusals": [], "warnings": [], "domains": [old]})
    assert read.checks[0].headroom == pytest.approx(0.1)
    assert (read.checks[0].student_length, read.fingerprint) == (None, None)
