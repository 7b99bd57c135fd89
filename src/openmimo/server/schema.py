"""What a client may send to `/v1/chat/completions`, checked field by field.

Every accepted field has an effect. Fields of the OpenAI API that openmimo does not implement accept only the value that
changes nothing (`NEUTRAL`); labels that have no effect anywhere (`user`, `metadata`) are accepted and dropped.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from openmimo.chat import Message, message_from_openai
from openmimo.engine.params import MAX_LOGIT_BIAS, MAX_STOP_CHARS, MAX_STOP_STRINGS, MAX_TOP_LOGPROBS
from openmimo.errors import RequestError

__all__ = ["AgentRequest", "ChatRequest", "Model", "PageTurn", "PassRequest", "WorldCallRequest", "read_request"]

MAX_MESSAGES = 2048
MAX_TOOLS = 128
MAX_TOOL_BYTES = 65536
MAX_SCHEMA_DEPTH = 16
MAX_NEW_TOKENS = 1_000_000

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None,),
    "functions": (None,),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "parallel_tool_calls": (None, True),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""Fields of the API without an implementation here, and the values that ask for nothing."""

LABELS = ("metadata", "prompt_cache_key", "safety_identifier", "user")
"""Fields that name the caller and change no reply anywhere; dropped."""

_MESSAGE_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "refusal": (None,),
}
Model = TypeVar("Model", bound=BaseModel)
_TOKEN_ID = re.compile(r"0|[1-9][0-9]{0,8}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class CalledFunction(_Strict):
    """Name and arguments of a call in the history; arguments are JSON text (an object is accepted too)."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, Any]

    @field_validator("arguments", mode="before")
    @classmethod
    def _parse_arguments(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parsed = _strict_json(value or "{}")
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise _refusal("must be a JSON object written as text", code="invalid_tool_arguments")
        return parsed


class CallIn(_Strict):
    """A tool call that an earlier reply made."""

    id: Annotated[str, Field(max_length=256)] = ""
    type: Literal["function"] = "function"
    index: int | None = None
    function: CalledFunction


class MessageIn(_Strict):
    """One message of the history, in any of the spellings that clients replay."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallIn] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, value: Any) -> Any:
        return _without_neutral(value, _MESSAGE_NEUTRAL) if isinstance(value, dict) else value

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, value: Any) -> Any:
        return "".join(_part_text(part) for part in value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _fits_role(self) -> "MessageIn":
        if self.content is None and self.role in ("system", "developer", "user"):
            raise _refusal(f"a {self.role} message needs content", field="content")
        if self.tool_calls and self.role != "assistant":
            raise _refusal("only assistant messages have tool_calls", field="tool_calls")
        return self

    def to_message(self) -> Message:
        """Return it as the message type that the chat format renders."""
        return message_from_openai({**self.model_dump(exclude_none=True), "content": self.content or ""})


class FunctionIn(_Strict):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not _TOOL_NAME.fullmatch(value):
            raise _refusal("must be 1 to 64 letters, digits, dots, dashes or underscores")
        return value

    @field_validator("parameters")
    @classmethod
    def _check_parameters(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if _depth(value) > MAX_SCHEMA_DEPTH:
            raise _refusal(f"may be nested at most {MAX_SCHEMA_DEPTH} deep")
        if len(json.dumps(value)) > MAX_TOOL_BYTES:
            raise _refusal(f"may be at most {MAX_TOOL_BYTES} bytes of JSON")
        if value is not None:
            _check_schema(value, "")
        return value

    @field_validator("strict")
    @classmethod
    def _check_strict(cls, value: bool | None) -> bool | None:
        if value:
            raise _refusal("true is not supported; send false or leave it out", code="unsupported_value")
        return value


class ToolIn(_Strict):
    """A tool in the OpenAI shape."""

    type: Literal["function"]
    function: FunctionIn

    def to_dict(self) -> dict[str, Any]:
        """Return it as the plain dict that the chat format renders."""
        function = self.function.model_dump(exclude_none=True, exclude={"strict"})
        return {"type": "function", "function": function}


class StreamOptions(_Strict):
    """What a streamed reply carries besides the text."""

    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class TemplateArguments(_Strict):
    """The chat template's arguments that a client may set."""

    enable_thinking: bool | None = None


class ChatRequest(_Strict):
    """Body of `/v1/chat/completions`."""

    model: Annotated[str, Field(max_length=256)] | None = None
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[list[ToolIn], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["auto", "none"] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    chat_template_kwargs: TemplateArguments | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_neutral(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kept = _without_neutral(value, NEUTRAL)
        return {key: item for key, item in kept.items() if key not in LABELS}

    @field_validator("tool_choice", mode="before")
    @classmethod
    def _check_tool_choice(cls, value: Any) -> Any:
        if value == "required" or isinstance(value, dict):
            raise _refusal("only auto and none are supported", code="unsupported_value")
        return value

    @field_validator("stop", mode="before")
    @classmethod
    def _check_stop(cls, value: Any) -> Any:
        stops = [value] if isinstance(value, str) else value
        if isinstance(stops, list):
            if len(stops) > MAX_STOP_STRINGS:
                raise _refusal(f"at most {MAX_STOP_STRINGS} strings are allowed")
            if any(isinstance(stop, str) and not 0 < len(stop) <= MAX_STOP_CHARS for stop in stops):
                raise _refusal(f"each string must have 1 to {MAX_STOP_CHARS} characters")
        return stops

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _read_token_ids(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if len(value) > MAX_LOGIT_BIAS:
            raise _refusal(f"at most {MAX_LOGIT_BIAS} tokens are allowed")
        for key in value:
            if not _TOKEN_ID.fullmatch(key):
                raise _refusal(f"{key[:20]!r} is no token id; each key must be one, written as text")
        return {int(key): bias for key, bias in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> "ChatRequest":
        if self.stream_options is not None and not self.stream:
            raise _refusal("only allowed when stream is true", field="stream_options")
        if self.top_logprobs and not self.logprobs:
            raise _refusal("only allowed when logprobs is true", field="top_logprobs")
        return self


class PageTurn(MessageIn):
    """One message of the page's chat: what the user said, or what `done` gave the page to keep."""

    content: Annotated[str, Field(max_length=8192)] | None = None

    @field_validator("role")
    @classmethod
    def _is_not_system(cls, value: str) -> str:
        if value in ("system", "developer"):
            raise _refusal("the page's system message is the world's listing")
        return value


class AgentRequest(_Strict):
    """Body of `/agent`: the world to act in, and the chat so far, the user's new turn last."""

    world: Annotated[str, Field(max_length=64)] = "home"
    messages: Annotated[list[PageTurn], Field(min_length=1, max_length=MAX_MESSAGES)]

    @field_validator("messages")
    @classmethod
    def _ends_with_user(cls, value: list[PageTurn]) -> list[PageTurn]:
        if value[-1].role != "user":
            raise _refusal("the last message must be the user's")
        return value


class PassRequest(_Strict):
    """Body of `/worlds/{name}/pass`: how long to let the world go on at once, a day at most."""

    minutes: Annotated[int, Field(ge=1, le=24 * 60)]


class WorldCallRequest(_Strict):
    """Body of `/worlds/{name}/call`: one tool call made by hand."""

    name: Annotated[str, Field(max_length=64)]
    arguments: dict[str, Any] = {}


def read_request(model: type[Model], raw: bytes) -> Model:
    """Turn a request body into a checked model.

    Args:
        model: `ChatRequest` or `AgentRequest`.
        raw: the body as received.
    Returns:
        the checked request.
    Raises:
        RequestError: the body is not JSON (code `invalid_json`) or a field is wrong (`param` names it).
    """
    body = _parse_json(raw)
    if not isinstance(body, dict):
        raise RequestError(f"the body must be a JSON object, not {type(body).__name__}", code="invalid_json")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _request_error(error) from None


def _parse_json(raw: bytes) -> Any:
    try:
        return _strict_json(raw.decode("utf-8"))
    except RecursionError:
        raise RequestError("the body is nested too deeply to be read", code="invalid_json") from None
    except ValueError as error:
        raise RequestError(f"the body is not valid JSON: {_plain(error)}", code="invalid_json") from None


def _strict_json(text: str) -> Any:
    """Parse JSON whose values can be written again: no NaN, no infinity, no repeated keys, only whole characters."""
    value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    # "\\ud800" is valid JSON but half a character, and 1e999 is infinity; neither could be tokenised.
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return value


def _plain(error: ValueError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it has a lone surrogate"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object repeats a key")
    return result


def _refusal(text: str, code: str = "invalid_value", field: str = "") -> PydanticCustomError:
    """A validation error with our own code; `field` names it where pydantic only knows the enclosing object."""
    return PydanticCustomError("refusal", "{text}", {"text": text, "code": code, "field": field})


def _request_error(error: ValidationError) -> RequestError:
    """Name the first wrong field the way a client would write it: `messages[2].content`."""
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    param = _param((*first["loc"], *filter(None, [context.get("field")])))
    if first["type"] == "missing":
        return RequestError(f"{param} is required", param=param, code="missing_field")
    if first["type"] == "extra_forbidden":
        code = "unknown_template_arg" if param.startswith("chat_template_kwargs") else "unknown_field"
        return RequestError(f"{param} is not a field that this server knows; leave it out", param=param, code=code)
    code = context.get("code", "invalid_value") if first["type"] == "refusal" else "invalid_value"
    given = "" if context.get("field") else f" (got {_shown(first['input'])})"
    return RequestError(f"{param}: {first['msg']}{given}", param=param, code=code)


def _param(loc: tuple[int | str, ...]) -> str:
    """Write pydantic's location as a path; names of union branches (`str`, `list[str]`) are no part of it."""
    path = ""
    for item in loc:
        if isinstance(item, int):
            path += f"[{item}]"
        elif item not in ("str", "list[str]", "float", "int", "bool"):
            path += f".{item}" if path else item
    return path


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _without_neutral(body: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    for name, allowed in neutral.items():
        if name in body and not any(_same(body[name], value) for value in allowed):
            shown = " or ".join(json.dumps(value) for value in allowed if value is not None) or "null"
            raise _refusal(f"only {shown} is supported; leave it out", code="unsupported_value", field=name)
    return {key: value for key, value in body.items() if key not in neutral}


def _same(given: Any, neutral: Any) -> bool:
    """Equality that does not take True for 1."""
    return given == neutral and isinstance(given, bool) == isinstance(neutral, bool)


def _part_text(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind in ("image_url", "input_audio", "video_url", "audio_url", "file", "image"):
        raise _refusal("this model reads text parts only", code="modality_not_supported")
    raise _refusal('each part must be {"type": "text", "text": ...}')


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        children = [child.values() if isinstance(child, dict) else child for child in level if _nests(child)]
        level = [item for items in children for item in items if _nests(item)]
    return depth


def _check_schema(schema: Any, path: str) -> None:
    """Refuse what is no JSON schema in the keywords that the reply parser reads to type arguments."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _refusal(f"{path or 'it'} must be a JSON schema")
    types = schema.get("type", "object")
    if not all(isinstance(name, str) for name in (types if isinstance(types, list) else [types])):
        raise _refusal(f"{path}.type must be a name or a list of names")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise _refusal(f"{path}.properties must be an object")
    for name, child in properties.items():
        _check_schema(child, f"{path}.properties.{name[:64]}")
    for keyword in ("anyOf", "oneOf"):
        children = schema.get(keyword, [])
        if not isinstance(children, list):
            raise _refusal(f"{path}.{keyword} must be a list")
        for index, child in enumerate(children):
            _check_schema(child, f"{path}.{keyword}[{index}]")


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list)
