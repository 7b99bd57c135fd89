"""SFT of any checkpoint on a file of conversations."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmimo.chat import ChatFormat
from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.errors import ConfigError
from openmimo.model.model import MiMo, load_model
from openmimo.tokenizer import Tokenizer
from openmimo.train.conversations import Conversations, DocumentSource, read_conversations
from openmimo.train.heads import copy_mtp_head
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.recipe import Run
from openmimo.train.trainer import train

__all__ = ["Finetuned", "finetune"]

TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
BATCH_TOKENS = 4096
MAX_ROW = 4096
EPOCHS = 3
SEED = 0


@dataclass(frozen=True)
class Finetuned:
    """The outcome.

    Attributes:
        checkpoint: folder of the last snapshot.
        data: what the file held.
    """

    checkpoint: Path
    data: Conversations


def finetune(
    source: Path, data: Path, run: Run, lr: float = 3e-4, on_bad_line: Literal["stop", "skip"] = "stop"
) -> Finetuned:
    """Train a checkpoint on conversations: three times through the file unless `run.steps` says otherwise.

    Args:
        source: checkpoint folder with a tokenizer; a single MTP head becomes three.
        data: JSONL file, see `read_conversations`.
        run: where to work.
        lr: peak learning rate.
        on_bad_line: what to do about a line that cannot be used.
    Returns:
        the new checkpoint, and what was read.
    Raises:
        CheckpointError: the checkpoint is damaged.
        DataError: the file cannot be used.
        ConfigError: the checkpoint has no tokenizer.
        TrainingError: as `train`.
    Source: bias update speed 1e-4 and auxiliary loss 1e-6 in SFT of MiMo-V2-Flash.
    """
    model = _plain_model(source)
    tokenizer = Tokenizer.load(source)
    chat = ChatFormat.load(source, tokenizer, model.config.family)
    room = min(MAX_ROW, model.config.max_position_embeddings)
    read = read_conversations(data, chat, room, on_bad_line)
    longest = max(len(document.ids) for document in read.documents)
    length = min(room, -(-max(longest, 256) // 64) * 64)
    pad = model.config.published.get("pad_token_id")
    batches = DocumentSource(read.documents, SEED, max(1, BATCH_TOKENS // length), length, pad or 0)
    steps = EPOCHS * batches.epoch_steps
    config = run.config(
        steps,
        save_every=max(10, steps // 5),
        balance_speed=1e-4,
        data=read.digest,
        optim=OptimConfig(lr=lr, decay=0.8),
        weights=LossWeights(mtp=0.3 if len(model.heads) else 0.0, balance=1e-6),
    )
    return Finetuned(train(model, config, batches, _text_files(source)), read)


def _plain_model(source: Path) -> MiMo:
    """The checkpoint in float32, and its config.json without what said how it was quantised."""
    loaded = load_model(Checkpoint.open(source))
    published: dict[str, Any] = {**loaded.config.published, "torch_dtype": "float32"}
    published.pop("quantization_config", None)
    heads = len(loaded.heads)
    published["num_nextn_predict_layers"] = heads
    model = MiMo(parse_config(published, heads))
    model.load_state_dict(loaded.state_dict())
    return copy_mtp_head(model) if heads == 1 else model


def _text_files(source: Path) -> dict[str, str]:
    files = {name: (source / name).read_text(encoding="utf-8") for name in TEXT_FILES if (source / name).is_file()}
    try:
        json.loads(files["tokenizer.json"])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{source} has no tokenizer.json that can be read: {error}") from error
    return files
