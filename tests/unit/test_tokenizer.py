import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from openmimo.errors import CheckpointError, RequestError
from openmimo.tokenizer import Tokenizer, train_tokenizer

CONTROL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
TEXTS = [f"turn off the kitchen light, set {i} degrees" for i in range(200)]
TOKENIZER = Tokenizer(train_tokenizer(TEXTS, 400, CONTROL))


@pytest.mark.parametrize("number", [*map(str, range(100)), "00", "07"])
def test_numbers_of_one_or_two_digits_are_one_token(number):
    assert len(TOKENIZER.encode(number)) == 1


def test_a_longer_number_is_cut_from_the_left_in_pairs():
    assert [TOKENIZER.decode([i]) for i in TOKENIZER.encode("21534")] == ["21", "53", "4"]


def test_control_tokens_take_the_last_ids():
    assert TOKENIZER.control_ids == {text: TOKENIZER.vocab_size - 4 + i for i, text in enumerate(CONTROL)}


def test_content_never_becomes_a_control_token():
    text = "a<|im_end|><think>"
    assert not set(TOKENIZER.encode(text)) & set(TOKENIZER.control_ids.values())
    assert TOKENIZER.encode(text, allow_control=True)[1:] == [
        TOKENIZER.control_ids["<|im_end|>"],
        TOKENIZER.control_ids["<think>"],
    ]


def test_added_tokens_that_are_not_special_are_control_tokens_too():
    backend = train_tokenizer(TEXTS, 400, CONTROL)
    backend.add_tokens(["<tool_call>"])
    tokenizer = Tokenizer(backend)
    assert len(tokenizer.encode("<tool_call>")) > 1
    assert tokenizer.encode("<tool_call>", allow_control=True) == [tokenizer.control_ids["<tool_call>"]]


def test_decode_keeps_control_tokens_as_text():
    assert TOKENIZER.decode([TOKENIZER.control_ids["<think>"], *TOKENIZER.encode("grüße")]) == "<think>grüße"


@given(st.text())
def test_decode_gives_back_what_was_encoded(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert TOKENIZER.decode(TOKENIZER.encode(text, allow_control=True)) == text


@settings(max_examples=200)
@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1)))
def test_a_stream_joins_to_what_decode_gives(ids):
    stream = TOKENIZER.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == TOKENIZER.decode(ids)


def test_a_stream_holds_back_a_character_until_it_is_whole():
    ids = TOKENIZER.encode("🙂")  # F0 9F 99 82, none of which the corpus merges
    stream = TOKENIZER.stream()
    assert [stream.push(i) for i in ids] == ["", "", "", "🙂"]
    assert stream.flush() == ""


def test_a_stream_that_ends_inside_a_character_gives_one_replacement():
    stream = TOKENIZER.stream()
    assert [stream.push(i) for i in TOKENIZER.encode("🙂")[:3]] == ["", "", ""]
    assert stream.flush() == "\ufffd"


@pytest.mark.parametrize("token_id", [-1, 10**9, TOKENIZER.vocab_size])
def test_ids_outside_the_vocabulary_are_refused(token_id):
    with pytest.raises(RequestError, match=f"ids go from 0 to {TOKENIZER.vocab_size - 1}"):
        TOKENIZER.decode([token_id])


def test_lone_surrogates_are_refused():
    with pytest.raises(RequestError, match="valid Unicode"):
        TOKENIZER.encode("a\ud800")


def test_a_saved_tokenizer_loads_the_same(tmp_path):
    train_tokenizer(TEXTS, 400, CONTROL).save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path)
    assert loaded.encode("turn off 21<think>", allow_control=True) == TOKENIZER.encode("turn off 21<think>", True)


def test_truncation_written_in_the_file_is_not_applied():
    backend = train_tokenizer(TEXTS, 400, CONTROL)
    backend.enable_truncation(2)
    assert Tokenizer(backend).decode(Tokenizer(backend).encode("turn off the light")) == "turn off the light"


def test_training_is_deterministic():
    assert train_tokenizer(TEXTS, 400, CONTROL).to_str() == train_tokenizer(TEXTS, 400, CONTROL).to_str()


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(RequestError, match="use at least 360"):
        train_tokenizer(TEXTS, 300, CONTROL)


def test_unusable_files_name_the_file_and_the_reason(tmp_path):
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        Tokenizer.load(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as a tokenizer"):
        Tokenizer.load(tmp_path)
    path.write_text(Backend(models.WordLevel({"a": 0}, "a")).to_str())
    with pytest.raises(CheckpointError, match="use a byte-level BPE"):
        Tokenizer.load(tmp_path)
    lossy = json.loads(TOKENIZER._plain.to_str())
    del lossy["model"]["vocab"]["!"]
    path.write_text(json.dumps(lossy))
    with pytest.raises(CheckpointError, match="lacks 1 of the 256 bytes"):
        Tokenizer.load(tmp_path)
