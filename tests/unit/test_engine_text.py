"""Text out of the engine: end tokens, stop strings, whole characters, chats."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tokenizers
from engine_backend import FakeBackend
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from openmimo.batch import StepResult
from openmimo.chat import ChatFormat, Message, chat_template
from openmimo.config import parse_config
from openmimo.engine import Engine, SamplingParams, find_eos_ids
from openmimo.engine.text import StopFilter
from openmimo.errors import CheckpointError, RequestError
from openmimo.tokenizer import Tokenizer

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]


@pytest.fixture(scope="module")
def tokenizer():
    """One token for each byte, then the control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(CONTROL)
    return Tokenizer(backend)


class Script(FakeBackend):
    """Says a fixed reply after any prompt; the embedding has rows past the tokenizer's, with the highest logits."""

    def __init__(self, prompt_length: int, reply: list[int], vocab_size: int = 300):
        super().__init__(num_heads=0)
        self.config = replace(self.config, vocab_size=vocab_size)
        self.reply = dict(enumerate(reply, prompt_length - 1))

    def forward(self, batch, wants_hidden=False, wants_routes=False):
        logits, start = np.zeros((batch.token_ids_T.size, self.config.vocab_size), np.float32), 0
        for n, end in enumerate(batch.starts_N1[1:]):
            for row in range(start, end):
                logits[row, self.reply.get(int(batch.first_N[n]) + row - start, 1)] = 9
            start = end
        logits[:, 261:] = 50
        logits_BV = logits[batch.wanted_B]
        return StepResult(logits_BV, logits_BV[:, : self._num_ids].argmax(axis=1).astype(np.int32))

    def commit(self, keep_N):
        pass


def complete(tokenizer, reply: str, **params):
    """Completion of a scripted reply, and the texts that were streamed."""
    ids = tokenizer.encode(reply, allow_control=True)
    prompt = tokenizer.encode("go")
    sampling = SamplingParams(temperature=0, max_new_tokens=params.pop("max_new_tokens", len(ids)), **params)
    with Engine(Script(len(prompt), ids), tokenizer, eos_ids=find_eos_ids("none", _config(), tokenizer)) as engine:
        deltas = list(engine.stream("go", sampling))
        completion = engine.generate("go", sampling)
    assert "".join(delta.text for delta in deltas) == completion.text
    assert sum((delta.token_ids for delta in deltas), ()) == completion.token_ids
    return completion, [delta.text for delta in deltas]


def _config():
    return FakeBackend().config


def test_control_tokens_are_shown_and_end_tokens_are_not(tokenizer):
    completion, _ = complete(tokenizer, "<think>a</think>b<|im_end|>rest")
    assert completion.text == "<think>a</think>b"
    assert completion.finish_reason == "stop"
    assert completion.token_ids[-1] == tokenizer.control_ids["<|im_end|>"]
    assert completion.stats.new_tokens == 5


def test_ignored_end_tokens_are_ordinary_text(tokenizer):
    completion, _ = complete(tokenizer, "a<|im_end|>b", ignore_eos=True)
    assert completion.text == "a<|im_end|>b"
    assert completion.finish_reason == "length"


def test_tokens_past_the_tokenizer_are_never_chosen(tokenizer):
    assert complete(tokenizer, "plain")[0].text == "plain"


def test_characters_are_never_cut(tokenizer):
    completion, texts = complete(tokenizer, "aé😀b")
    assert completion.text == "aé😀b"
    assert texts == ["a", "", "é", "", "", "", "😀", "b"]
    completion, texts = complete(tokenizer, "aé😀b", max_new_tokens=5)
    assert completion.text == "aé\ufffd"
    assert texts[-1] == "\ufffd"


def test_text_ends_before_a_stop_string_and_nothing_of_it_is_streamed(tokenizer):
    completion, texts = complete(tokenizer, "one two STOP three", stop=("STOP",))
    assert completion.text == "one two "
    assert completion.finish_reason == "stop"
    assert tokenizer.decode(completion.token_ids) == "one two STOP"
    assert not any("S" in text for text in texts)


def test_a_beginning_of_a_stop_string_comes_out_when_it_is_none(tokenizer):
    assert complete(tokenizer, "a STO b", stop=("STOP",))[0].text == "a STO b"
    assert complete(tokenizer, "a STO", stop=("STOP",))[0].text == "a STO"
    assert complete(tokenizer, "a STO<|im_end|>", stop=("STOP",))[0].text == "a STO"


def test_the_stop_string_that_is_complete_first_wins(tokenizer):
    assert complete(tokenizer, "abcdef", stop=("def", "cd"))[0].text == "ab"
    assert complete(tokenizer, "abcdef", stop=("bcdef", "cd"))[0].text == "ab"
    assert complete(tokenizer, "abcdef", stop=("cd", "bcd"))[0].text == "a"


@settings(deadline=None)
@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_stop_strings_are_found_however_the_text_is_split(text, stop, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    found = [(text.find(each) + len(each), text.find(each)) for each in stop if each in text]
    expected = text[: min(found)[1]] if found else text
    stop_filter, shown = StopFilter(tuple(stop)), ""
    for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True):
        shown += stop_filter.feed(text[a:b])
        assert expected.startswith(shown)
    assert stop_filter.is_stopped == bool(found)
    assert shown + stop_filter.finish() == expected


def test_chat_messages_are_written_by_the_template(tokenizer):
    chat = ChatFormat(tokenizer, chat_template("default"))
    messages = [Message("system", "be brief"), {"role": "user", "content": "hi"}]
    expected = chat.encode(messages)
    backend = Script(len(expected), tokenizer.encode("ok"))
    with Engine(backend, tokenizer, chat) as engine:
        completion = engine.generate(messages, SamplingParams(temperature=0, max_new_tokens=2))
    assert (completion.text, completion.stats.prompt_tokens) == ("ok", len(expected))


def test_text_cannot_forge_control_tokens(tokenizer):
    with Engine(Script(10, [70]), tokenizer) as engine:
        completion = engine.generate("<|im_end|>", SamplingParams(temperature=0, max_new_tokens=1))
    assert completion.stats.prompt_tokens == len("<|im_end|>")


def test_end_tokens_come_from_config_generation_config_and_tokenizer(tmp_path, tokenizer):
    config = parse_config({**_config().published, "eos_token_id": [7]})
    assert find_eos_ids(tmp_path, config, None) == [7]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 7]}))
    assert find_eos_ids(tmp_path, config, None) == [7, 9]
    assert find_eos_ids(tmp_path, config, tokenizer) == [7, 9, 256, 258]
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": "x"}')
    with pytest.raises(CheckpointError, match="eos_token_id='x'"):
        find_eos_ids(tmp_path, config, None)
    (tmp_path / "generation_config.json").write_text("[")
    with pytest.raises(CheckpointError, match="cannot be read"):
        find_eos_ids(tmp_path, config, None)


def test_a_lone_surrogate_in_the_prompt_is_refused(tokenizer):
    with Engine(Script(1, [70]), tokenizer) as engine, pytest.raises(RequestError):
        engine.generate("\ud800")
