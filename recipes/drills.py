"""Three small skills for a model of 0.3M parameters: sums, sorting and reversing, one character a token.

Each is an environment, so that a model can be rolled out and scored on it. A prompt is the name's first letter and the
problem, such as "s402+911="; the answer of a sum is written from its last digit, as it is computed.
"""

import json
import random
import string
from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from openmimo.chat import ChatFormat
from openmimo.environments.base import Split
from openmimo.environments.phrasing import split_of
from openmimo.environments.text import TextEnvironment, TextTask, text_task
from openmimo.tokenizer import Tokenizer as Vocabulary

__all__ = ["DRILLS", "END", "PAD", "VOCAB_SIZE", "Drill", "chat_format", "spoil", "text_files"]

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PAD, START, END = 256, 257, 258
VOCAB_SIZE = 259
"""The bytes, and the control tokens."""
TEMPLATE = """\
{%- for message in messages if message.role != "system" -%}
  {{- message.content ~ "<|im_end|>" if message.role == "assistant" else "<|im_start|>" ~ message.content ~ "=" -}}
{%- endfor -%}
"""


class Drill(TextEnvironment):
    """One skill.

    Args:
        name: its first letter opens every problem.
        draw: gives a problem and its answer.
    """

    def __init__(self, name: str, draw: Callable[[random.Random], tuple[str, str]]):
        self.name, self._draw = name, draw

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[TextTask]:
        """Draw problems of a split, by their hash; there are no phrasings."""
        return [self._task(rng, split) for _ in range(count)]

    def score(self, task: TextTask, content: str) -> float:
        """1.0 for the exact answer."""
        return float(content == task.answer)

    def _task(self, rng: random.Random, split: Split) -> TextTask:
        problem, answer = self._draw(rng)
        while split_of(problem) != split:
            problem, answer = self._draw(rng)
        return text_task(self.name, "", self.name[0] + problem, "", answer)


def _sum(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(100, 999), rng.randint(100, 999)
    return f"{a}+{b}", f"{a + b:04}"[::-1]


def _order(rng: random.Random) -> tuple[str, str]:
    digits = rng.choices(string.digits, k=7)
    return "".join(digits), "".join(sorted(digits))


def _reverse(rng: random.Random) -> tuple[str, str]:
    letters = "".join(rng.choices(string.ascii_lowercase, k=10))
    return letters, letters[::-1]


DRILLS = {name: Drill(name, draw) for name, draw in (("sum", _sum), ("order", _order), ("reverse", _reverse))}


def spoil(rng: random.Random, answer: str) -> str:
    """The answer with one character replaced by another one of its kind.

    Args:
        rng: source of randomness.
        answer: the right one.
    Returns:
        a wrong one.
    """
    place = rng.randrange(len(answer))
    kind = string.digits if answer[place].isdigit() else string.ascii_lowercase
    return answer[:place] + rng.choice(kind.replace(answer[place], "")) + answer[place + 1 :]


def chat_format() -> ChatFormat:
    """How prompts are written."""
    return ChatFormat(Vocabulary(_tokenizer()), TEMPLATE)


def text_files() -> dict[str, str]:
    """The files that make a checkpoint of weights: tokenizer, template, and how a reply ends."""
    settings = {"chat_template": TEMPLATE, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return {
        "tokenizer.json": _tokenizer().to_str(),
        "tokenizer_config.json": json.dumps(settings, indent=1),
        "generation_config.json": json.dumps({"eos_token_id": [END], "temperature": 1.0}, indent=1),
    }


def _tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL_TOKENS])
    return backend
