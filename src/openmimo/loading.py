"""Opening a checkpoint folder as an engine."""

import os
from pathlib import Path
from typing import Literal

from openmimo.batch import PAGE_SIZE
from openmimo.chat import ChatFormat
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.config import ModelConfig
from openmimo.engine import Engine, find_eos_ids
from openmimo.errors import ConfigError
from openmimo.tokenizer import Tokenizer

__all__ = ["load"]

WEIGHTS = ("bf16", "f32", "q8", "q4")


def load(
    folder: str | Path | None = None,
    weights: Literal["bf16", "f32", "q8", "q4"] | None = None,
    threads: int | None = None,
    kv: Literal["bf16", "f32"] = "bf16",
    mtp: Literal["auto", "off"] | int = "auto",
    num_slots: int = 16,
    cache_bytes: int = 2**30,
) -> Engine:
    """Open a checkpoint and start an engine on the native back end.

    Args:
        folder: checkpoint folder (config.json, *.safetensors; tokenizer.json for text); None is the default model.
        weights: number format to compute with; None is q8 for a folder stored so, else bf16.
        threads: CPU threads; None takes the physical cores that this process may use.
        kv: number format of the caches. With weights="f32" they are f32 too, whatever this says.
        mtp: drafts in a decode step: "auto" (as many as pay), "off", or a number.
        num_slots: requests that can run at once; more wait.
        cache_bytes: memory for the caches of global-attention layers. It is shared by all running requests and limits
            the context: `engine.max_context`. Less is taken if `num_slots` full contexts need less.
    Returns: the engine; close it, or use it in a `with` block.
    Raises:
        CheckpointError: a file or tensor is missing or unusable.
        ConfigError: a setting cannot work.
    """
    _check_settings(weights or "bf16", threads, kv, num_slots, cache_bytes)
    from openmimo.native import NativeBackend  # the extension is needed here only

    folder = default_model_path() if folder is None else Path(folder)
    checkpoint = Checkpoint.open(folder)
    config = checkpoint.config
    weights = weights or ("q8" if "quantization_config" in config.published else "bf16")
    backend = NativeBackend(
        checkpoint,
        weights=weights,
        threads=available_cores() if threads is None else threads,
        num_slots=num_slots,
        num_pages=count_pages(config, num_slots, cache_bytes, kv_bytes=4 if weights == "f32" else 2),
    )
    has_tokenizer = (folder / "tokenizer.json").is_file()
    tokenizer = Tokenizer.load(folder) if has_tokenizer else None
    chat = ChatFormat.load(folder, tokenizer, config.family) if tokenizer is not None else None
    return Engine(backend, tokenizer, chat, find_eos_ids(folder, config, tokenizer), mtp)


def _check_settings(weights: str, threads: int | None, kv: str, num_slots: int, cache_bytes: int) -> None:
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r} is not known: use one of {', '.join(WEIGHTS)}")
    if kv not in ("bf16", "f32") or (kv == "f32" and weights != "f32"):
        raise ConfigError(f'kv={kv!r} with weights={weights!r} is not supported: use kv="bf16"')
    if threads is not None and threads < 1:
        raise ConfigError(f"threads={threads} must be at least 1; leave it out to use the available cores")
    if num_slots < 1:
        raise ConfigError(f"num_slots={num_slots} must be at least 1")
    if cache_bytes < 1:
        raise ConfigError(f"cache_bytes={cache_bytes} must be at least 1")


def count_pages(config: ModelConfig, num_slots: int, cache_bytes: int, kv_bytes: int) -> int:
    """Choose the number of cache pages.

    Args:
        config: shape of the model.
        num_slots: requests that may run at once.
        cache_bytes: most memory to use.
        kv_bytes: bytes of one cached number.
    Returns: pages for `num_slots` full contexts if they fit into `cache_bytes`, else as many as fit, at least 1.
    """
    layers = [*config.layers, *[config.mtp_layer] * config.num_mtp_layers]
    widths = [
        layer.num_key_value_heads * (layer.head_dim + layer.v_head_dim) for layer in layers if layer.window is None
    ]
    wanted = num_slots * -(-config.max_position_embeddings // PAGE_SIZE)
    if not widths:
        return wanted
    return max(1, min(wanted, cache_bytes // (PAGE_SIZE * kv_bytes * sum(widths))))


def available_cores() -> int:
    """Count the physical cores that this process may use: its CPU set, two threads of a core counted once, and the
    CPU quota of its container.

    Returns: at least 1.
    """
    cpus = sorted(os.sched_getaffinity(0))
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota(Path("/sys/fs/cgroup/cpu.max"))))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:  # not every machine tells
        return str(cpu)


def _quota(path: Path) -> int:
    try:
        limit, period = path.read_text(encoding="ascii").split()
        return max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):  # no limit: the file is missing or says "max"
        return 2**31
