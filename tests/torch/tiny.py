"""Tiny checkpoints that can chat, for tests of what happens around a model."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tokenizers
import torch

from openmimo.chat import chat_template
from openmimo.checkpoint import save_checkpoint
from openmimo.config import parse_config
from openmimo.model.model import MiMo, new_model, published_tensors
from openmimo.tokenizer import train_tokenizer
from tests.torch.test_model import SMALL
from tests.torch.test_train_command import CONTROL_TOKENS

Change = Callable[[dict, dict, dict], None]
"""Changes a checkpoint's config, tokenizer and settings in place."""


@cache
def tokenizer() -> tokenizers.Tokenizer:
    """A vocabulary of 400."""
    return train_tokenizer(["Go home. Done. there"], 400, CONTROL_TOKENS)


def tiny_model(config: dict, seed: int, noise: float = 0.1) -> MiMo:
    """A model whose blocks do something from the start: their outputs have the given spread."""
    model, generator = new_model(parse_config(config), seed), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                parameter.normal_(0, noise, generator=generator)
    return model


def write_tiny(folder: Path, model: MiMo | None = None, change: Change | None = None) -> Path:
    """Write a checkpoint with one MTP head, and the default template.

    `change` gets config, tokenizer and settings before the model is made.
    """
    size = tokenizer().get_vocab_size()
    config = {
        **SMALL,
        "vocab_size": size,
        "max_position_embeddings": 256,
        "num_nextn_predict_layers": 1,
        "eos_token_id": size - 11,
        "pad_token_id": size - 13,
    }
    words = json.loads(tokenizer().to_str())
    settings = {"chat_template": chat_template("default"), "eos_token": "<|im_end|>"}
    if change:
        change(config, words, settings)
    files = {"tokenizer.json": json.dumps(words), "tokenizer_config.json": json.dumps(settings)}
    save_checkpoint(folder, config, dict(published_tensors(model or tiny_model(config, 0))), files)
    return folder
