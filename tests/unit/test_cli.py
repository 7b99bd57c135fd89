"""The commands through `main`: what they print, and how they end."""

import io
import json
import subprocess
import sys

import pytest

from openmimo.bench import bytes_per_token, machine, measure_limits, noise, operations_per_token
from openmimo.checkpoint import default_model_path
from openmimo.cli import main
from openmimo.config import read_config
from openmimo.costs import kv_bytes, weight_bytes_per_token
from openmimo.doctor import Finding, format_findings


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_generate_prints_the_completion_as_json(capsys):
    code, out, _ = run(capsys, "generate", "--ids", "1,2,3", "--max-new-tokens", "3", "--logprobs", "2", "--json")
    completion = json.loads(out)
    assert code == 0
    assert completion["stats"]["prompt_tokens"] == 3
    assert len(completion["logprobs"][0]["top"]) == 2


def test_generate_reads_a_piped_prompt(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("the light"))
    assert run(capsys, "generate", "--max-new-tokens", "2", "--json")[0] == 0


def test_a_logit_bias_keeps_a_token_out(capsys):
    def first(*words: str) -> int:
        return json.loads(run(capsys, "generate", "--ids", "9,8", "--max-new-tokens", "1", "--json", *words)[1])[
            "token_ids"
        ][0]

    usual = first()
    assert first("--logit-bias", f"{usual}=-100") != usual


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("generate", "--ids", "1,x"), 2, "token ids separated by commas"),
        (("generate", "--ids", "1", "--logit-bias", "5"), 2, "42=-1.5"),
        (("generate", "--ids", "1", "--top-p", "2"), 2, "top_p"),
        (("generate", "--ids", "1", "--mtp", "9"), 2, "MTP heads"),
        (("generate", "no-such-folder", "--ids", "1"), 3, "no-such-folder"),
        (("show", "no-such-folder"), 3, "no-such-folder"),
        (("quantize", "no-such-folder", "elsewhere"), 3, "no-such-folder"),
        (("bench", "--batch", "0"), 2, "batch=0 must be at least 1"),
        (("bench", "--context", "-1"), 2, "context=-1 must be at least 0"),
    ],
)
def test_a_bad_word_ends_in_one_line_and_its_code(capsys, words, code, said):
    result = run(capsys, *words)
    assert result[0] == code
    assert said in result[2]
    assert result[2].count("\n") == 1


def test_show_prints_json(capsys):
    code, out, _ = run(capsys, "show", "--json")
    assert code == 0
    assert json.loads(out)["mtp_heads"] == 3


@pytest.mark.parametrize(("batch", "context"), [(1, 0), (2, 40)])
def test_bench_measures_what_was_asked_for(capsys, monkeypatch, batch, context):
    monkeypatch.setattr("openmimo.bench.PROBE_BYTES", 2**22)
    words = ("--batch", str(batch), "--context", str(context), "--prompt-tokens", "32", "--new-tokens", "128")
    code, out, _ = run(capsys, "bench", *words, "--repeats", "1", "--weights", "q8", "--threads", "1", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["batch"], result["context"], result["weights"], result["threads"]) == (batch, context, "q8", 1)
    assert result["prefill_tokens_per_s"] > 0
    assert result["decode_tokens_per_s"] > 0
    assert (result["decode_share_of_bandwidth"] is None) == (batch > 1)


def test_chat_answers_each_line_with_a_line_of_json(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("is the kitchen light on?\n\n"))
    code, out, _ = run(capsys, "chat", "--json", "--max-new-tokens", "8")
    turns = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [turn["request"] for turn in turns] == ["is the kitchen light on?"]


def test_doctor_looks_at_the_machine_the_default_model_and_a_folder(capsys, monkeypatch):
    monkeypatch.setattr("openmimo.bench.PROBE_BYTES", 2**22)
    code, out, _ = run(capsys, "doctor", str(default_model_path()), "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)["findings"]}
    assert {"instructions", "memory", "memory bandwidth", "int8 peak", "default model", "as q4"} <= set(findings)
    assert not findings["default model"]["is_wrong"]
    assert code == int(any(finding["is_wrong"] for finding in findings.values()))


def test_doctor_ends_in_1_for_a_folder_that_does_not_open(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("openmimo.bench.PROBE_BYTES", 2**22)
    code, out, _ = run(capsys, "doctor", str(tmp_path))
    assert code == 1
    assert "need attention" in out


def test_a_finding_is_one_line_and_its_advice_another():
    text = format_findings([Finding("disk", "0.1 GB free", True, "make room")])
    assert text.splitlines()[1].strip() == "-> make room"
    assert text.endswith("1 of 1 need attention")


def test_a_token_reads_active_weights_and_its_cache():
    config = read_config(default_model_path(), num_mtp_layers=3)
    assert bytes_per_token(config, "q4", 100, "int8") == weight_bytes_per_token(config, "q4") + kv_bytes(
        config, 100, "int8"
    )
    assert operations_per_token(config) > 0


def test_the_machine_reads_memory_and_says_what_it_is(monkeypatch):
    monkeypatch.setattr("openmimo.bench.PROBE_BYTES", 2**22)
    limits = measure_limits(2)
    assert limits["bytes_per_s"] > 0
    assert limits["int8_operations_per_s"] >= 0
    assert machine()


def test_noise_is_the_same_everywhere_and_stays_below_the_vocabulary():
    assert noise(3, 100) == [13, 32, 51]
    assert max(noise(1000, 64)) < 64


def test_a_reader_that_goes_away_ends_a_command_quietly():
    with subprocess.Popen(
        [sys.executable, "-m", "openmimo", "show"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)
