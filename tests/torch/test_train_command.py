"""`openmimo train`: recipes, SFT on a file of conversations, reports, exit codes and summaries."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import openmimo
from openmimo.chat import ChatFormat, Message, ToolCall, chat_template
from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.cli import main
from openmimo.config import parse_config
from openmimo.errors import DataError
from openmimo.model.model import load_model, new_model, published_tensors
from openmimo.tokenizer import Tokenizer, train_tokenizer
from openmimo.train.conversations import DocumentSource, encode_conversation, read_conversations
from openmimo.train.data import Branch
from openmimo.train.log import read_metrics
from openmimo.train.report import write_report
from tests.torch.test_model import SMALL

CONTROL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<function=", "</function>", "<parameter=", "</parameter>", "<tool_response>", "</tool_response>",
)  # fmt: skip
TOOL = {"type": "function", "function": {"name": "go", "parameters": {"properties": {"where": {"type": "string"}}}}}
CALL = {"id": "a", "type": "function", "function": {"name": "go", "arguments": '{"where": "home"}'}}
GOOD = {
    "messages": [
        {"role": "user", "content": "Go home"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "a", "content": "there"},
        {"role": "assistant", "content": "Done."},
    ],
    "tools": [TOOL],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A checkpoint with a tokenizer, random weights and one MTP head."""
    folder = tmp_path_factory.mktemp("base") / "base"
    tokenizer = train_tokenizer(["Go home. Done. there"], 400, CONTROL_TOKENS)
    size = tokenizer.get_vocab_size()
    published = {
        **SMALL,
        "vocab_size": size,
        "max_position_embeddings": 256,
        "num_nextn_predict_layers": 1,
        "eos_token_id": size - 11,
        "pad_token_id": size - 13,
    }
    files = {
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps({"chat_template": chat_template("default"), "eos_token": "<|im_end|>"}),
    }
    model = new_model(parse_config(published), seed=1)
    save_checkpoint(folder, published, dict(published_tensors(model)), files)
    return folder


@pytest.fixture(scope="module")
def chat(base) -> ChatFormat:
    return ChatFormat.load(base, Tokenizer.load(base), "v2")


def write_lines(path: Path, *lines) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def learnt(chat: ChatFormat, document: Branch) -> str:
    return chat.tokenizer.decode([i for i, weight in zip(document.ids, document.weights, strict=True) if weight])


def test_loss_lies_on_what_the_assistant_says(chat):
    call = Message("assistant", tool_calls=(ToolCall("go", {"where": "home"}, "a"),))
    result, last = Message("tool", "there", tool_call_id="a"), Message("assistant", "Done.")
    (document,) = encode_conversation(chat, [Message("user", "Go home"), call, result, last], [TOOL])
    assert learnt(chat, document) == (
        "<think></think><tool_call>\n<function=go>\n<parameter=where>home</parameter>\n</function>\n</tool_call>"
        "<|im_end|><think></think>Done.<|im_end|>"
    )


def test_a_template_that_drops_earlier_reasoning_gives_a_document_for_each_request(chat):
    talk = [
        Message("user", "Go"), Message("assistant", "Done.", reasoning="home"),
        Message("user", "Go"), Message("assistant", "there"),
    ]  # fmt: skip
    first, second = encode_conversation(chat, talk, [])
    assert learnt(chat, first) == "<think>home</think>Done.<|im_end|>"
    assert learnt(chat, second) == "<think></think>there<|im_end|>"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"messages": [', "not a JSON object"),
        ("[1]", "not a JSON object: must be a JSON object, not list"),
        ("{}", '"messages" must be a list of at least one message'),
        ('{"messages": [{"role": "king", "content": ""}]}', "message role 'king' is not known"),
        ('{"messages": [{"role": "user", "content": "Go"}]}', "no assistant message, so there is nothing to learn"),
        ('{"messages": [{"role": "assistant", "content": "Go"}]}', "a reply comes before any user message"),
        (json.dumps({**GOOD, "tools": [{"name": "go"}]}), "each tool must be"),
        (json.dumps({**GOOD, "messages": [{"role": "user", "content": "Go " * 400}, *GOOD["messages"][1:]]}), "fit"),
    ],
)
def test_a_bad_line_is_named_with_its_reason_or_skipped(tmp_path, chat, line, reason):
    path = write_lines(tmp_path / "data.jsonl", GOOD, "", line, GOOD)
    with pytest.raises(DataError, match="line 3") as error:
        read_conversations(path, chat, 256)
    assert reason in str(error.value)
    read = read_conversations(path, chat, 256, "skip")
    assert read.num_lines == 2
    ((number, told),) = read.skipped
    assert number == 3
    assert reason in told


def test_a_line_that_is_not_utf8_or_far_too_long_is_told(tmp_path, chat, monkeypatch):
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"messages": "\xff"}\n' + json.dumps(GOOD).encode())
    with pytest.raises(DataError, match=r"line 1: not UTF-8 \(byte 15\)"):
        read_conversations(path, chat, 256)
    monkeypatch.setattr("openmimo.train.conversations.MAX_LINE_BYTES", 2000)
    write_lines(path, "x" * 10_000, GOOD)
    read = read_conversations(path, chat, 256, "skip")
    assert (read.num_lines, read.skipped) == (1, [(1, "longer than 2,000 bytes")])


def test_files_without_conversations_are_refused(tmp_path, chat):
    with pytest.raises(DataError, match="cannot be read"):
        read_conversations(tmp_path / "none.jsonl", chat, 256)
    for lines in ((), ("", ""), ("x",)):
        with pytest.raises(DataError, match="holds no conversation"):
            read_conversations(write_lines(tmp_path / "data.jsonl", *lines), chat, 256, "skip")


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, chat, monkeypatch):
    path = write_lines(tmp_path / "data.jsonl", GOOD)
    stamps = iter([(1, 1), (1, 2)])
    monkeypatch.setattr("openmimo.train.conversations._stamp", lambda _: next(stamps))
    with pytest.raises(DataError, match="changed while it was read"):
        read_conversations(path, chat, 256)


def test_every_document_is_seen_once_each_time_round():
    documents = [Branch([10 + i] * (2 + i % 3), [1.0] * (2 + i % 3)) for i in range(9)]
    source = DocumentSource(documents, seed=3, rows=1, length=6, pad_id=0)
    for epoch in range(2):
        batches = [source(epoch * source.epoch_steps + step) for step in range(source.epoch_steps)]
        ids = torch.cat([batch.ids_BT.flatten() for batch in batches]).tolist()
        assert sorted(i for i in ids if i) == sorted(i for document in documents for i in document.ids)
    assert torch.equal(source(1).ids_BT, source(1).ids_BT)


def test_sft_of_a_checkpoint_on_a_file(tmp_path, base, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("openmimo.train.finetune.BATCH_TOKENS", 512)
    data = write_lines(tmp_path / "data.jsonl", *[GOOD] * 40, "oops")
    words = ["train", "sft", str(base), "--data", str(data), "--out", str(tmp_path / "out"), "--json"]
    assert main([*words, "--steps", "3"]) == 2
    assert "line 41: not a JSON object" in capsys.readouterr().err
    assert main([*words, "--steps", "40", "--lr", "1e-2", "--bad-lines", "skip"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["steps"], summary["conversations"], summary["skipped_lines"][0][0]) == (40, 40, 41)
    curve = [r["loss"] for r in read_metrics(tmp_path / "out/sft/metrics.jsonl") if "tokens" in r]
    assert curve[-1] < 0.1 * curve[0]
    assert Path(summary["report"]).is_file()
    with openmimo.load(summary["checkpoint"], weights="f32", mtp=3) as engine:
        params = openmimo.SamplingParams(temperature=0, max_new_tokens=60)
        text = engine.generate([Message("user", "Go home")], params, [TOOL]).text
    assert (
        text
        == "<think></think><tool_call>\n<function=go>\n<parameter=where>home</parameter>\n</function>\n</tool_call>"
    )
    assert Checkpoint.open(summary["checkpoint"]).config.num_mtp_layers == 3  # one head has become three


def test_torch_and_engine_agree_on_a_trained_checkpoint(tmp_path, base, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = write_lines(tmp_path / "data.jsonl", *[GOOD] * 8)
    assert main(["train", "sft", str(base), "--data", str(data), "--out", str(tmp_path), "--steps", "2"]) == 0
    folder, ids = tmp_path / "sft" / "step-000002", list(range(100, 160))
    with torch.no_grad():
        model = load_model(Checkpoint.open(folder))
        wanted = model.logits(model(torch.tensor([ids])))[0].numpy()
    with openmimo.load(folder, weights="f32") as engine:
        assert abs(engine.logits(ids) - wanted).max() < 1e-4


RECIPE = """
from openmimo.config import parse_config
from openmimo.model.model import new_model
from openmimo.train.trainer import train
from tests.torch.test_model import SMALL
from tests.torch.test_train import copy_task

def pretrain(run):
    return train(new_model(parse_config(SMALL), 0), run.config(3, bf16=False), copy_task, {})
"""


def test_a_recipe_of_ones_own_and_its_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "mine.py"
    recipe.write_text(RECIPE, encoding="utf-8")
    assert main(["train", "pretrain", str(recipe)]) == 0
    assert capsys.readouterr().out == "runs/mine/pretrain/step-000003\n"
    assert main(["train", "pretrain", str(recipe), "--steps", "5", "--json"]) == 0  # goes on
    assert json.loads(capsys.readouterr().out)["steps"] == 5
    report = tmp_path / "runs/mine/pretrain/report.html"
    report.unlink()
    assert main(["train", "report", "runs/mine/pretrain"]) == 0
    assert report.is_file()
    assert main(["train", "sft", str(recipe)]) == 2
    assert "defines no function sft(run): it has pretrain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pretrain", "nothing.py"], "is not a Python file"),
        (["pretrain", "bad.py"], "bad.py is not Python"),
        (["pretrain", "bad.py", "--steps", "0"], "--steps 0 must be at least 1"),
        (["pretrain", "bad.py", "--data", "x"], "--data goes with sft"),
        (["pretrain", "bad.py", "--lr", "1e-3"], "go with --data"),
        (["sft", "."], "give --data FILE.jsonl"),
        (["sft", "bad.py", "--data", "x"], "is not a checkpoint folder"),
        (["report", "."], "has no metrics.jsonl"),
        (["report", ".", "--steps", "3"], "report takes a run folder and nothing else"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text("def pretrain(:", encoding="utf-8")
    assert main(["train", *words]) == 2
    assert told in capsys.readouterr().err


class Tags(HTMLParser):
    """Names of all tags, and every address that a browser would load."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.loaded += [value for key, value in attrs if key in ("src", "href") and value]


def test_the_report_stands_alone_and_shows_every_curve(tmp_path):
    steps = [
        {"step": i, "loss": 3.0 / (i + 1), "lr": 1e-3, "tokens": 10, "tok_s": 50, "experts": [[0.5, 0.5]]}
        for i in range(700)
    ]
    others = [{"step": 699, "exact": {"named": 50, "<b>": 2}}, {"step": 3, "alarm": "expert <collapse>"}]
    write_lines(tmp_path / "metrics.jsonl", *steps, *others, '{"step": 700, "lo')
    text = write_report(tmp_path).read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.names.count("polyline") == 5  # loss, learning rate, tokens a second, two scores
    assert not tags.loaded
    assert "script" not in tags.names
    assert "b" not in tags.names
    assert "expert &lt;collapse&gt;" in text
    assert "700 steps, 7,000 tokens" in text
    assert len(text) < 60_000
