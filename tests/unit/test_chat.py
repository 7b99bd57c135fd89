import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmimo.chat import ChatFormat, Message, ReplyEvent, ToolCall, chat_template, message_from_openai
from openmimo.errors import CheckpointError, RequestError
from openmimo.tokenizer import Tokenizer, train_tokenizer

CONTROL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<parameter="]
TOKENIZER = Tokenizer(train_tokenizer(["turn off the kitchen light"] * 9, 400, CONTROL))
DEFAULT = ChatFormat(TOKENIZER, chat_template("default"))
V2 = ChatFormat(TOKENIZER, chat_template("v2"))
SEVEN = ChatFormat(TOKENIZER, chat_template("7b"))
FORMATS = pytest.mark.parametrize("chat", [DEFAULT, V2, SEVEN], ids=["default", "v2", "7b"])


def tool(name, /, **properties):
    schema = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": f"About {name}.", "parameters": schema}}


TOOLS = [
    tool("HassTurnOff", name={"type": "string"}, area={"type": "string"}),
    tool("HassLightSet", name={"type": "string"}, brightness={"type": "integer"}, rgb={"type": "array"}),
    {"type": "function", "function": {"name": "Now"}},
]
OFF = ToolCall("HassTurnOff", {"name": "ceiling light"}, "call_0")
SET = ToolCall("HassLightSet", {"brightness": 40, "rgb": [1, 2]}, "call_1")
TALK = [
    Message("system", "You run a home."),
    Message("user", "turn off the kitchen light"),
    Message("assistant", "", "3. kitchen light: on", (OFF, SET)),
    Message("tool", "ok", tool_call_id="call_0"),
    Message("tool", "ok too", tool_call_id="call_1"),
    Message("assistant", "The light is off.", "done"),
    Message("user", "thanks"),
]


# Rendering.


def test_the_default_template_writes_the_layout_that_the_model_was_trained_on():
    assert DEFAULT.render(TALK[:6], TOOLS, add_generation_prompt=False) == (
        "<|im_start|>system\nYou run a home.\n# Tools\n"
        "HassTurnOff(name, area)\nHassLightSet(name, brightness, rgb)\nNow()\n<|im_end|>"
        "<|im_start|>user\nturn off the kitchen light<|im_end|>"
        "<|im_start|>assistant\n<think>3. kitchen light: on</think>"
        "<tool_call>\n<function=HassTurnOff>\n<parameter=name>ceiling light</parameter>\n</function>\n</tool_call>"
        "<tool_call>\n<function=HassLightSet>\n"
        "<parameter=brightness>40</parameter>\n<parameter=rgb>[1, 2]</parameter>\n</function>\n</tool_call><|im_end|>"
        "<|im_start|>tool\n<tool_response>\nok\n</tool_response>\n<tool_response>\nok too\n</tool_response>\n<|im_end|>"
        "<|im_start|>assistant\n<think>done</think>The light is off.<|im_end|>"
    )


def test_the_default_template_drops_reasoning_of_earlier_requests():
    text = DEFAULT.render(TALK)
    assert "<think>" not in text
    assert text.endswith("<|im_start|>user\nthanks<|im_end|><|im_start|>assistant\n")
    assert "<|im_start|>assistant\n<tool_call>\n<function=HassTurnOff>" in text


def test_turning_thinking_off_prefills_an_empty_block():
    prompt = [Message("user", "hi")]
    assert DEFAULT.render(prompt) == DEFAULT.render(prompt, enable_thinking=True)
    assert DEFAULT.render(prompt, enable_thinking=False) == DEFAULT.render(prompt) + "<think></think>"
    assert SEVEN.render(prompt, enable_thinking=False) == SEVEN.render(prompt) + "<think></think>"
    assert V2.render(prompt) == V2.render(prompt, enable_thinking=True) + "<think></think>"  # off is V2-Flash's default


def test_the_v2_format_matches_the_published_test_vector():
    assert V2.render([Message("user", "Hello")], enable_thinking=False) == (
        "<|im_start|>system\nYou are MiMo, a helpful AI assistant engineered by Xiaomi.<|im_end|>"
        "<|im_start|>user\nHello<|im_end|><|im_start|>assistant\n<think></think>"
    )


def test_the_v2_format_lists_tools_as_xml():
    text = V2.render(TALK, [tool("F", n={"type": "integer", "description": "How many.", "enum": [1, 2]})])
    assert (
        "<tools>\n<function>\n<name>F</name>\n<description>About F.</description>\n<parameters>\n<parameter>\n"
        "<name>n</name>\n<type>integer</type>\n<description>How many.</description>\n<enum>[1, 2]</enum>\n"
        "</parameter>\n</parameters>\n</function>\n</tools>" in text
    )


def test_the_7b_format_writes_tools_and_calls_as_json():
    text = SEVEN.render(TALK, TOOLS)
    assert all(json.dumps(item) + "\n" in text for item in TOOLS)
    assert (
        '<tool_call>\n{"name": "HassTurnOff", "arguments": {"name": "ceiling light"}}\n</tool_call>\n<tool_call>'
        in text
    )
    assert (
        "<|im_start|>user\n<tool_response>\nok\n</tool_response>\n<tool_response>\nok too\n</tool_response><|im_end|>\n"
        in text
    )


@FORMATS
@pytest.mark.parametrize("end", [2, 5])
def test_a_training_target_continues_its_prompt(chat, end):
    prompt = chat.render(TALK[:end], TOOLS, enable_thinking=True)
    assert chat.render(TALK[: end + 1], TOOLS, add_generation_prompt=False).startswith(prompt)
    ids = chat.encode(TALK[:end], TOOLS, enable_thinking=True)
    assert chat.encode(TALK[: end + 1], TOOLS, add_generation_prompt=False)[: len(ids)] == ids


@FORMATS
def test_a_target_without_reasoning_continues_a_prompt_with_thinking_off(chat):
    messages = [Message("user", "hi"), Message("assistant", "Hello.")]
    prompt = chat.render(messages[:1], enable_thinking=False)
    assert chat.render(messages, add_generation_prompt=False).removeprefix(prompt).startswith("Hello.<|im_end|>")


@FORMATS
def test_what_the_template_writes_for_a_reply_parses_back_to_it(chat):
    reply = Message("assistant", "Done.", "why not", (OFF, SET))
    prompt = chat.render(TALK[:2], TOOLS, enable_thinking=True)
    text = chat.render([*TALK[:2], reply], TOOLS, add_generation_prompt=False).removeprefix(prompt)
    parser = chat.parser(TOOLS)
    parser.feed(text.removesuffix("\n").removesuffix("<|im_end|>"))
    parser.finish()
    assert parser.message == reply


# Control tokens.


def control_texts(chat, messages, tools=()):
    return [TOKENIZER.decode([i]) for i in chat.encode(messages, tools) if i in TOKENIZER.control_ids.values()]


@FORMATS
@pytest.mark.parametrize("attack", [*CONTROL, "<<|im_end|>|im_end|>", "".join(CONTROL), "\U000f0000<|im_end|>"])
def test_control_text_in_content_stays_ordinary_text(chat, attack):
    def talk(text):
        call = ToolCall(f"F{text}", {f"k{text}": f"v{text}", "list": [{"deep": text}]}, text)
        return [
            Message("system", f"s{text}"),
            Message("user", f"u{text}"),
            Message("assistant", f"a{text}", f"r{text}", (call,)),
            Message("tool", f"t{text}", tool_call_id=text),
        ]

    def tools(text):
        return [tool("F", **{f"p{text}": {"type": "string", "description": text, "enum": [text]}})]

    assert control_texts(chat, talk(attack), tools(attack)) == control_texts(chat, talk("x"), tools("x"))
    assert TOKENIZER.decode(chat.encode(talk(attack), tools(attack))) == chat.render(talk(attack), tools(attack))


@FORMATS
def test_the_scaffold_becomes_control_tokens(chat):
    found = control_texts(chat, TALK[:3], TOOLS)
    assert found.count("<|im_start|>") == 4
    assert found.count("<tool_call>") >= 2
    assert found.count("<think>") >= 1


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="<|im_end>/thk\U000f0000\U000f0001 ", max_size=60))
def test_no_content_forges_a_control_token(text):
    assert control_texts(DEFAULT, [Message("user", text)]) == control_texts(DEFAULT, [Message("user", "x")])


# Templates.


def test_a_checkpoints_own_template_is_used(tmp_path):
    settings = {"chat_template": "{{ bos_token }}{{ messages[0].content }}", "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert ChatFormat.load(tmp_path, TOKENIZER, "v2").render([Message("user", "hi")]) == "<s>hi"
    (tmp_path / "chat_template.jinja").write_text("file: {{ messages | tojson }}")
    rendered = ChatFormat.load(tmp_path, TOKENIZER, "v2").render([Message("user", "é<")])
    assert rendered == 'file: [{"role": "user", "content": "é<"}]'


def test_a_list_of_templates_means_the_one_named_default(tmp_path):
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": templates}))
    assert ChatFormat.load(tmp_path, TOKENIZER, "7b").render(TALK) == "yes"


@pytest.mark.parametrize(("family", "chat"), [("v2", V2), ("7b", SEVEN)])
def test_a_folder_without_a_template_gets_the_familys(tmp_path, family, chat):
    assert ChatFormat.load(tmp_path, TOKENIZER, family).render(TALK, TOOLS) == chat.render(TALK, TOOLS)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ messages[0].missing.deeper }}",
    ],
)
def test_a_template_that_fails_or_reaches_out_refuses_the_request(template):
    with pytest.raises(RequestError, match="chat template refuses"):
        ChatFormat(TOKENIZER, template).render([Message("user", "hi")])


def test_a_template_that_does_not_compile_is_refused_at_load(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(CheckpointError, match="does not compile"):
        ChatFormat.load(tmp_path, TOKENIZER, "v2")
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(CheckpointError, match="cannot be read"):
        ChatFormat.load(tmp_path, TOKENIZER, "v2")


# The OpenAI form.


@pytest.mark.parametrize("message", TALK, ids=lambda message: message.role)
def test_a_message_survives_the_openai_form(message):
    assert message_from_openai(json.loads(json.dumps(message.to_openai()))) == message


def test_openai_arguments_are_json_text():
    assert Message("assistant", tool_calls=(OFF,)).to_openai() == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_0",
                "type": "function",
                "function": {"name": "HassTurnOff", "arguments": '{"name": "ceiling light"}'},
            }
        ],
    }


def test_text_parts_join_and_developer_means_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert message_from_openai({"role": "developer", "content": parts}) == Message("system", "ab")


def test_a_think_block_that_opens_content_is_reasoning():
    message = message_from_openai({"role": "assistant", "content": "<think>a</think>b"})
    assert message == Message("assistant", "b", "a")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("hi", "must be an object"),
        ({"role": "robot", "content": ""}, "use one of system, user"),
        ({"role": "user"}, "must be text"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "'image_url' is not supported"),
        ({"role": "user", "content": [{"type": "text"}]}, "needs a string"),
        ({"role": "tool", "content": "x", "tool_call_id": 3}, "tool_call_id must be a string"),
        ({"role": "assistant", "tool_calls": {}}, None),
        ({"role": "assistant", "tool_calls": "x"}, "must be a list"),
        ({"role": "assistant", "tool_calls": [{}]}, "needs a function"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}, "JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[" * 9999}}]}, "JSON object"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}, "JSON object"),
    ],
)
def test_malformed_messages_are_refused(message, words):
    if words is None:
        assert message_from_openai(message) == Message("assistant")
        return
    with pytest.raises(RequestError, match=words):
        message_from_openai(message)


@pytest.mark.parametrize(
    "bad", [{}, {"type": "function", "function": {"name": "a b"}}, {"type": "retrieval", "function": {"name": "a"}}]
)
def test_malformed_tools_are_refused(bad):
    with pytest.raises(RequestError, match="each tool must be"):
        DEFAULT.render(TALK, [bad])
    with pytest.raises(RequestError, match="each tool must be"):
        DEFAULT.parser([bad])


def test_an_empty_conversation_is_refused():
    with pytest.raises(RequestError, match="at least one message"):
        DEFAULT.encode([])


# Replies.


def joined(events):
    """Neighbouring pieces of text as one, so that cuts do not show."""
    result = []
    for event in events:
        if result and event.kind == result[-1].kind != "tool_call":
            event = ReplyEvent(event.kind, result.pop().text + event.text)
        result.append(event)
    return result


def parse(pieces):
    parser = DEFAULT.parser(TOOLS)
    events = [event for piece in pieces for event in parser.feed(piece)] + parser.finish()
    return joined(events), parser.message


def content(text):
    return ReplyEvent("content", text)


def reasoning(text):
    return ReplyEvent("reasoning", text)


def call(name, arguments, number=0):
    return ReplyEvent("tool_call", tool_call=ToolCall(name, arguments, f"call_{number}"))


def xml(name, /, **arguments):
    parameters = "".join(f"<parameter={key}>{value}</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"


JSON_CALL = '<tool_call>\n{"name": "Now", "arguments": {"say": "a </tool_call> \\" \\\\"}}\n</tool_call>'
REPLIES = {
    "": [],
    "Hello <b>there</b>": [content("Hello <b>there</b>")],
    "<think>a\n b</think>Hi": [reasoning("a\n b"), content("Hi")],
    " \n<think></think>\n\nHi": [content("\n\nHi")],
    " Hi <think>x</think>": [content(" Hi <think>x</think>")],
    "<think>never <tool_call> ends</thin": [reasoning("never <tool_call> ends</thin")],
    xml("HassTurnOff", name="ceiling light"): [call("HassTurnOff", {"name": "ceiling light"})],
    "<think>t</think>On it. \n" + xml("Now") + "\n" + xml("Now") + "\n": [
        reasoning("t"),
        content("On it."),
        call("Now", {}),
        call("Now", {}, 1),
    ],
    xml("Now") + " and more": [call("Now", {}), content(" and more")],
    xml("HassTurnOff", name="  two\nlines ", area="a < b &amp; &lt;c> AT&T &copy=2"): [
        call("HassTurnOff", {"name": "  two\nlines ", "area": "a < b & <c> AT&T &copy=2"})
    ],
    xml("HassLightSet", name="5", brightness=" 40 ", rgb="[1, 2]"): [
        call("HassLightSet", {"name": "5", "brightness": 40, "rgb": [1, 2]})
    ],
    xml("HassLightSet", name="null", brightness="bright", rgb="[1"): [
        call("HassLightSet", {"name": None, "brightness": "bright", "rgb": "[1"})
    ],
    xml("HassLightSet", brightness="true", other="7"): [call("HassLightSet", {"brightness": "true", "other": "7"})],
    xml("HassTurnOff", name="</tool_call></function>"): [call("HassTurnOff", {"name": "</tool_call></function>"})],
    JSON_CALL: [call("Now", {"say": 'a </tool_call> " \\'})],
    JSON_CALL + "\n" + xml("Now"): [call("Now", {"say": 'a </tool_call> " \\'}), call("Now", {}, 1)],
    '<tool_call>{"name": "Now", "arguments": "{\\"a\\": 1}"}</tool_call>': [call("Now", {"a": 1})],
    '<tool_call>{"name": "Now"}</tool_call>': [call("Now", {})],
    # Malformed and unfinished calls are content.
    "a <tool_call>b</tool_call>": [content("a <tool_call>b</tool_call>")],
    "<tool_call>\n<function=F>\n<parameter=a>1": [content("<tool_call>\n<function=F>\n<parameter=a>1")],
    "x\n<tool_call>\n<function=F>\n</function": [content("x\n<tool_call>\n<function=F>\n</function")],
    "<tool_call> <tool_call>\n<function=Now></function></tool_call>": [content("<tool_call> "), call("Now", {})],
    "<tool_call><function=a\nb></function></tool_call>": [content("<tool_call><function=a\nb></function></tool_call>")],
    '<tool_call>{"name": 3, "arguments": {}}</tool_call>!': [
        content('<tool_call>{"name": 3, "arguments": {}}</tool_call>!')
    ],
    '<tool_call>{"name": "F", "arguments": {"a": NaN}}</tool_call>': [
        content('<tool_call>{"name": "F", "arguments": {"a": NaN}}</tool_call>')
    ],
    '<tool_call>{"name": "F", "arguments": {"a": "\\ud800"}}</tool_call>': [
        content('<tool_call>{"name": "F", "arguments": {"a": "\\ud800"}}</tool_call>')
    ],
    '<tool_call>{"name": "F", "arguments": {"a": "unclosed}}\n</tool_call>' + xml("Now"): [
        content('<tool_call>{"name": "F", "arguments": {"a": "unclosed}}\n</tool_call>'),
        call("Now", {}),
    ],
    '<tool_call>{"name": "F", "arg\\': [content('<tool_call>{"name": "F", "arg\\')],
    "wait <tool_ca": [content("wait <tool_ca")],
    " \n": [content(" \n")],
}


@pytest.mark.parametrize("text", REPLIES)
def test_a_reply_parses_to_its_parts(text):
    assert parse([text])[0] == REPLIES[text]


@pytest.mark.parametrize("text", REPLIES)
def test_no_single_cut_changes_the_result(text):
    expected = parse([text])
    assert all(parse([text[:i], text[i:]]) == expected for i in range(len(text) + 1))
    assert parse(text) == expected  # one character at a time


PIECES = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>"),
    *(">", "<", "name", " ", "\n", '{"name": "F"', "}", '"', "\\", "&lt;", "null", "é", xml("Now"), JSON_CALL),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.data())
def test_no_way_of_cutting_changes_the_result(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = parse([text])
    assert parse(pieces) == expected
    assert parse(text) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_text_without_a_complete_call_loses_nothing_but_the_think_tags(text):
    events, _ = parse([text])
    if not any(event.kind == "tool_call" for event in events):
        kept = "".join(event.text for event in events)
        assert kept == text or "<think>" in text


def test_a_template_that_opens_the_think_block_starts_the_parser_inside_it():
    source = "{{ messages[0].content }}{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"
    chat = ChatFormat(TOKENIZER, source)
    for thinking, expected in ((None, Message("assistant", "b", " a")), (False, Message("assistant", " a</think>b"))):
        parser = chat.parser(enable_thinking=thinking)
        assert parser.feed(" a</think>b")
        assert parser.finish() == []
        assert parser.message == expected


def test_text_is_given_out_as_soon_as_it_is_certain():
    parser = DEFAULT.parser()
    assert parser.feed("Hello") == [content("Hello")]
    assert parser.feed(" <tool") == []
    assert parser.feed("box") == [content(" <toolbox")]
    assert parser.message == Message("assistant", "Hello <toolbox")


def cpu_seconds(pieces):
    parser = DEFAULT.parser(TOOLS)
    begin = time.process_time()
    for piece in pieces:
        parser.feed(piece)
    parser.finish()
    return time.process_time() - begin


@pytest.mark.parametrize("unit", [" ", "<", "<tool_call>", xml("Now"), '<tool_call>{"</', "<tool_call><function=", "&"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "in characters"])
def test_parsing_takes_linear_time(unit, is_cut):
    text = unit * (2_000 // len(unit) + 1)
    whole = 16 * text
    few, many = (text, whole) if is_cut else ([text], [whole])
    fast = min(cpu_seconds(few) for _ in range(3))
    assert cpu_seconds(many) < 64 * fast + 0.05  # linear work takes 16 times as long, quadratic 256 times


@pytest.mark.parametrize(
    "schema",
    [True, 5, {"type": True}, {"type": [3, None]}, {"type": {"a": 1}}, {"anyOf": 5}, {"oneOf": [True, {"type": 1}]}],
    ids=str,
)
def test_schemas_that_are_none_leave_arguments_as_text(schema):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": schema}}}}]
    parser = DEFAULT.parser(tools)
    parser.feed("<tool_call><function=f><parameter=a>1</parameter></function></tool_call>")
    parser.finish()
    assert parser.message.tool_calls[0].arguments == {"a": "1"}
