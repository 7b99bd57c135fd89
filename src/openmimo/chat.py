"""Chat: how a checkpoint writes a conversation as a prompt, with all that a caller needs to talk to it.

A prompt has scaffold (what the template writes) and content (what people and tools wrote). Only scaffold becomes
control tokens: `ChatFormat.encode` breaks every control string inside content before the template sees it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openmimo.errors import CheckpointError, RequestError
from openmimo.messages import Message, ToolCall, check_tools, message_from_openai, openai_call
from openmimo.reply import ReplyEvent, ReplyParser
from openmimo.tokenizer import Tokenizer

__all__ = ["ChatFormat", "Message", "ReplyEvent", "ReplyParser", "ToolCall", "chat_template", "message_from_openai"]


def chat_template(name: Literal["default", "v2", "7b"]) -> str:
    """Give a chat template that comes with the package.

    Args:
        name: "default" is the default model's; "v2" and "7b" serve checkpoints that bring none.
    Returns: Jinja source, as a tokenizer_config.json holds it.
    """
    suffix = "" if name == "default" else f"_{name}"
    return (Path(__file__).parent / f"chat_template{suffix}.jinja").read_text(encoding="utf-8")


class ChatFormat:
    """How one checkpoint writes a conversation.

    Args:
        tokenizer: the checkpoint's vocabulary.
        template: Jinja source.
        tokens: texts that templates may use, such as bos_token and eos_token.
    Raises:
        CheckpointError: the template does not compile.
    """

    def __init__(self, tokenizer: Tokenizer, template: str, tokens: Mapping[str, str] | None = None):
        self.tokenizer = tokenizer
        self._tokens = dict(tokens or {})
        self._template = _compile(template)
        self._opens_thinking = cache(self._probe_thinking)
        # A one-character control token cannot be broken in two; no published vocabulary has one.
        texts = [re.escape(text) for text in tokenizer.control_ids if len(text) > 1]
        self._control = re.compile(f"(?={'|'.join(texts)})" if texts else "(?!)")

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Tokenizer, family: Literal["v2", "7b"]) -> "ChatFormat":
        """Take the checkpoint's own template (chat_template.jinja, else tokenizer_config.json), else the family's.

        Args:
            folder: a checkpoint folder.
            tokenizer: its vocabulary.
            family: `ModelConfig.family`.
        Returns: the format.
        Raises:
            CheckpointError: a file cannot be read or the template does not compile.
        """
        folder = Path(folder)
        try:
            settings = json.loads(_read(folder / "tokenizer_config.json") or "{}")
            template = _read(folder / "chat_template.jinja") or _named_template(settings)
            tokens = _token_texts(settings)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder}/tokenizer_config.json or its template cannot be read: {error}") from error
        return cls(tokenizer, template or chat_template(family), tokens)

    def render(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        enable_thinking: bool | None = None,
    ) -> str:
        """Write the prompt as text, for people to read: `encode` is what models get.

        Args:
            messages: the conversation; dicts are read by `message_from_openai`.
            tools: OpenAI function tools that the model may call.
            add_generation_prompt: end with the opening of an assistant turn.
            enable_thinking: None leaves it to the template.
        Returns: the prompt.
        Raises:
            RequestError: there is no message, a tool is malformed, or the template refuses the conversation.
        """
        return self._render(_as_messages(messages), tools, add_generation_prompt, enable_thinking, lambda text: text)

    def encode(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        enable_thinking: bool | None = None,
    ) -> list[int]:
        """Write the prompt as token ids; text of control tokens inside content stays ordinary text.

        Args: as `render`.
        Returns: the token ids.
        Raises:
            RequestError: as `render`.
        """
        messages = _as_messages(messages)
        found: list[str] = []

        def note(text: str) -> str:
            found.append(text)
            return text

        rendered = self._render(messages, tools, add_generation_prompt, enable_thinking, note)
        if not any(self._control.search(text) for text in found):
            return self.tokenizer.encode(rendered, allow_control=True)
        mark = _unused_character(found)
        break_up = partial(self._break, mark=mark)
        broken = self._render(messages, tools, add_generation_prompt, enable_thinking, break_up)
        pieces = (self.tokenizer.encode(piece, allow_control=True) for piece in broken.split(mark))
        return [token_id for piece in pieces for token_id in piece]

    def parser(self, tools: Sequence[Mapping[str, Any]] = (), enable_thinking: bool | None = None) -> ReplyParser:
        """Start reading one reply.

        Args:
            tools: the tools that were offered; their schemas say which type each argument has.
            enable_thinking: as it was given to `encode`; some templates open `<think>` themselves.
        Returns: the parser.
        Raises:
            RequestError: a tool is malformed.
        """
        return ReplyParser(tools, is_thinking=self._opens_thinking(enable_thinking))

    def _probe_thinking(self, enable_thinking: bool | None) -> bool:
        try:
            prompt = self.render([Message("user", "x")], enable_thinking=enable_thinking)
        except RequestError:  # a template that refuses the probe; real prompts say so themselves
            return False
        return prompt.rstrip().endswith("<think>")

    def _break(self, text: str, mark: str) -> str:
        """Put the mark after the first character of every control string."""
        starts = [match.start() + 1 for match in self._control.finditer(text)]
        return mark.join(text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True))

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        enable_thinking: bool | None,
        on_content: Callable[[str], str],
    ) -> str:
        check_tools(tools)
        variables: dict[str, Any] = {"add_generation_prompt": add_generation_prompt, **self._tokens}
        if enable_thinking is not None:
            variables["enable_thinking"] = enable_thinking
        try:
            variables["messages"] = [_template_message(message, on_content) for message in messages]
            variables["tools"] = _map_strings(list(tools), on_content) if tools else None
            return self._template.render(variables)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
            message = f"the checkpoint's chat template refuses this conversation: {error}"
            raise RequestError(message, param="messages", code="template_error") from error


def _as_messages(messages: Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    if not messages:
        raise RequestError("messages is empty: send at least one message", param="messages")
    return [message if isinstance(message, Message) else message_from_openai(message) for message in messages]


# Templates.


def _compile(template: str) -> jinja2.Template:
    """Compile as Hugging Face does, so that published templates mean the same here."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise CheckpointError(f"the chat template does not compile: {error}") from error


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _named_template(settings: Mapping[str, Any]) -> str:
    template = settings.get("chat_template") or ""
    if isinstance(template, str):
        return template
    return {item["name"]: item["template"] for item in template}.get("default", "")


def _token_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """bos_token and the like, which files spell as text or as {"content": text}."""
    texts = {key: settings.get(key) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
    texts = {key: value.get("content") if isinstance(value, Mapping) else value for key, value in texts.items()}
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def _template_message(message: Message, on_content: Callable[[str], str]) -> dict[str, Any]:
    """The OpenAI form as templates expect it: call arguments are objects, absent fields are missing."""
    rendered: dict[str, Any] = {"role": message.role, "content": on_content(message.content)}
    if message.reasoning:
        rendered["reasoning_content"] = on_content(message.reasoning)
    if message.tool_calls:
        rendered["tool_calls"] = [_template_call(call, on_content) for call in message.tool_calls]
    if message.tool_call_id:
        rendered["tool_call_id"] = on_content(message.tool_call_id)
    return rendered


def _template_call(call: ToolCall, on_content: Callable[[str], str]) -> dict[str, Any]:
    named = ToolCall(on_content(call.name), {}, on_content(call.id))
    return openai_call(named, _map_strings(call.arguments, on_content))


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Apply `change` to every string in JSON data, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_strings(key, change): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _unused_character(texts: Iterable[str]) -> str:
    used = set().union(*texts)
    return next(chr(code) for code in range(0xF0000, 0x110000) if chr(code) not in used)
