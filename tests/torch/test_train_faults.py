"""What a training run survives: kills, full disks, flipped bits, NaN, signals, other settings, collapsed experts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.errors import StorageError, TrainingError
from openmimo.model.model import MiMo, new_model
from openmimo.train.data import PackedBatch
from openmimo.train.lock import hold_folder
from openmimo.train.log import read_metrics
from openmimo.train.optim import OptimConfig
from openmimo.train.snapshot import latest_snapshot
from openmimo.train.trainer import TrainConfig, train
from tests.torch.test_model import SMALL
from tests.torch.test_train import copy_task

ROOT = Path(__file__).parents[2]


def attempts(folder: Path, mode: str) -> list[dict]:
    """Runs that were interrupted, each in another place, and then gone on with."""
    command = [sys.executable, "-m", "tests.torch.interrupted_run", str(folder), mode]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(600)
def test_a_run_killed_at_any_disk_operation_goes_on_as_if_nothing_had_been(tmp_path):
    found = attempts(tmp_path, "operations")
    assert len(found) > 30
    assert {attempt["code"] for attempt in found[:-1]} == {-signal.SIGKILL}
    assert found[-1]["code"] == 0  # no operation was left to die at
    assert {attempt["found"] for attempt in found} == {"step-000004", "step-000006"}
    for attempt in found:
        assert (attempt["equal"], attempt["damage"], attempt["left"]) == (True, [], [])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mode", "codes"), [("bytes", {-signal.SIGXFSZ}), ("full", {4}), ("moments", {0, -signal.SIGKILL})]
)
def test_a_run_that_dies_in_mid_file_or_finds_no_room_goes_on_equal(tmp_path, mode, codes):
    found = attempts(tmp_path, mode)
    assert {attempt["code"] for attempt in found} <= codes
    for attempt in found:
        assert (attempt["equal"], attempt["damage"], attempt["left"]) == (True, [], [])


def small_run(folder: Path, source: Callable[[int], PackedBatch] = copy_task, steps: int = 8, **settings) -> Path:
    torch.set_num_threads(1)
    config = TrainConfig(str(folder), steps=steps, save_every=4, bf16=False, **settings)
    return train(small_model(), config, source, {})


def small_model() -> MiMo:
    return new_model(parse_config(SMALL, num_mtp_layers=1), seed=0)


def notes(folder: Path, key: str = "note") -> list[str]:
    return [record[key] for record in read_metrics(folder / "metrics.jsonl") if key in record]


def test_a_full_disk_is_told_with_path_and_bytes(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openmimo.train.snapshot.write_tensors", refuse)
    with pytest.raises(StorageError, match=r"step 4 was not written to .*No space left.* It takes \d+\.\d MB"):
        small_run(tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("step-")]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "trainer/optimizers.safetensors", "trainer/state.json", "manifest.json"]
)
def test_a_flipped_bit_sends_the_run_back_to_the_snapshot_before(tmp_path, name):
    last = small_run(tmp_path)
    wanted = (last / "model.safetensors").read_bytes()
    data = bytearray((last / name).read_bytes())
    data[len(data) // 2] ^= 1
    (last / name).write_bytes(data)
    again = small_run(tmp_path)
    assert (again / "model.safetensors").read_bytes() == wanted
    (told,) = notes(tmp_path)
    assert "step-000008 is damaged" in told
    assert "going on from step-000004" in told


def test_a_run_without_a_whole_snapshot_does_not_begin_anew(tmp_path):
    small_run(tmp_path)
    for path in tmp_path.glob("step-*/model.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"no snapshot in .* is whole: .*Move them away"):
        small_run(tmp_path)


def test_everything_that_changed_is_listed_and_may_be_allowed(tmp_path):
    small_run(tmp_path, steps=4)
    changes = {"optim": OptimConfig(lr=1e-3), "data": "other"}
    with pytest.raises(TrainingError, match=r"data: saved '', now 'other'; optim\.lr: saved 0\.003, now 0\.001\."):
        small_run(tmp_path, **changes)
    assert small_run(tmp_path, allow_changes=True, **changes).name == "step-000008"


def test_another_model_or_tokenizer_is_refused(tmp_path):
    small_run(tmp_path, steps=4)
    config = TrainConfig(str(tmp_path), steps=8, bf16=False)
    other = new_model(parse_config({**SMALL, "moe_intermediate_size": 24}, num_mtp_layers=1), seed=0)
    with pytest.raises(TrainingError, match=r"model\.moe_intermediate_size: saved 16, now 24"):
        train(other, config, copy_task, {})
    with pytest.raises(TrainingError, match="holds another model"):
        train(other, replace(config, allow_changes=True), copy_task, {})
    with pytest.raises(TrainingError, match=r"files\.tokenizer\.json: saved nothing, now '[0-9a-f]{12}'"):
        train(small_model(), config, copy_task, {"tokenizer.json": "{}"})


def test_a_snapshot_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("openmimo.train.snapshot.FORMAT", 9)
    small_run(tmp_path, steps=4)
    monkeypatch.undo()
    with pytest.raises(TrainingError, match="has format 9, this version reads up to 1"):
        small_run(tmp_path)


def spoilt(bad_steps: set[int]) -> Callable[[int], PackedBatch]:
    """The copy task with an infinite target weight at some steps."""

    def source(step: int) -> PackedBatch:
        batch = copy_task(step)
        return replace(batch, weights_BT=batch.weights_BT * float("inf")) if step in bad_steps else batch

    return source


def test_steps_without_a_finite_loss_are_skipped_and_counted(tmp_path):
    last = small_run(tmp_path, spoilt({2, 5, 6}))
    assert last.name == "step-000008"
    assert [note.split(":")[0] for note in notes(tmp_path)] == [f"step {step} skipped" for step in (2, 5, 6)]
    assert len([r for r in read_metrics(tmp_path / "metrics.jsonl") if "tokens" in r]) == 8
    Checkpoint.open(last).load("model.embed_tokens.weight")  # refuses what is not finite


def test_a_gradient_that_is_not_finite_is_skipped_too(tmp_path):
    model = small_model()
    calls = []

    def spoil(gradient):
        calls.append(0)
        return gradient * float("nan") if len(calls) == 3 else gradient

    model.model.norm.weight.register_hook(spoil)
    train(model, TrainConfig(str(tmp_path), steps=5, bf16=False), copy_task, {})
    (told,) = notes(tmp_path)
    assert told.startswith("step ")
    assert "gradient norm nan" in told


def test_too_many_bad_steps_stop_with_the_state_from_before_them(tmp_path):
    with pytest.raises(TrainingError, match="3 steps in a row could not be used, from step 6 on"):
        small_run(tmp_path / "bad", spoilt(set(range(6, 100))), steps=20, max_bad_steps=2)
    good = small_run(tmp_path / "good", steps=20)
    assert good.name == "step-000020"
    saved = latest_snapshot(tmp_path / "bad")
    assert saved is not None
    assert saved.name == "step-000006"
    resumed = small_run(tmp_path / "bad", steps=20, max_bad_steps=2)  # the data has been mended
    assert (resumed / "model.safetensors").read_bytes() == (good / "model.safetensors").read_bytes()


def test_a_batch_without_targets_changes_nothing(tmp_path):
    def empty(step: int) -> PackedBatch:
        batch = copy_task(step)
        return replace(batch, weights_BT=batch.weights_BT * (step != 3))

    small_run(tmp_path, empty)
    assert [note.split(":")[0] for note in notes(tmp_path)] == ["step 3 skipped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_exits_cleanly(tmp_path, number):
    def source(step: int) -> PackedBatch:
        if step == 5:
            os.kill(os.getpid(), number)
        return copy_task(step)

    with pytest.raises(SystemExit) as ended:
        small_run(tmp_path / "stopped", source)
    assert ended.value.code == 0
    snapshot = latest_snapshot(tmp_path / "stopped")
    assert snapshot is not None
    assert snapshot.name == "step-000006"
    stopped, straight = small_run(tmp_path / "stopped"), small_run(tmp_path / "straight")
    assert (stopped / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


@pytest.fixture
def _default_sigint() -> Iterator[None]:
    """Python's own handler of SIGINT: shells start what runs in the background with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_default_sigint")
def test_a_second_signal_ends_at_once_and_harms_nothing(tmp_path):
    def source(step: int) -> PackedBatch:
        if step == 5:
            first = signal.getsignal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is first:  # two that come before Python has looked are one
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)  # which the signal cuts short
        return copy_task(step)

    with pytest.raises(KeyboardInterrupt):  # Python's own answer to SIGINT
        small_run(tmp_path, source)
    snapshot = latest_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.name == "step-000004"


def test_a_second_trainer_is_refused(tmp_path):
    with hold_folder(tmp_path), pytest.raises(TrainingError, match="in use by process"):
        small_run(tmp_path)


def test_a_lock_left_behind_is_noted(tmp_path):
    (tmp_path / "lock").write_text("process 4 on elsewhere", encoding="utf-8")
    small_run(tmp_path)
    assert notes(tmp_path) == ["the lock of process 4 on elsewhere was left behind; going on from step 0"]


def test_collapsed_experts_are_told_in_log_and_report(tmp_path):
    model = small_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("e_score_correction_bias"):
                parameter[:2] = 10.0
    train(model, TrainConfig(str(tmp_path), steps=24, balance_speed=0.0, bf16=False), copy_task, {})
    (alarm,) = notes(tmp_path, "alarm")
    assert alarm.startswith("expert collapse: 6 of 8 experts of router 0, 6 of 8 experts of router 1")
    assert "expert collapse: 6 of 8" in (tmp_path / "report.html").read_text(encoding="utf-8")
    records = [record for record in read_metrics(tmp_path / "metrics.jsonl") if "tokens" in record]
    assert records[0]["idle"] == pytest.approx(6 / 8)
    assert records[0]["experts"] == [[0.5, 0.5, 0, 0, 0, 0, 0, 0]] * 2


def test_metrics_cut_off_by_a_crash_are_mended_on_resume(tmp_path):
    small_run(tmp_path, steps=4)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "loss": 1.0, "tokens": 3}\n{"step": 5, "scores": {"all": 1.0}')
    small_run(tmp_path)
    records = [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl") if "tokens" in r]
    assert records == list(range(8))
