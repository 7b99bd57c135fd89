"""Opening a checkpoint folder as an engine."""

import os
from pathlib import Path
from typing import Literal, get_args

from openmimo.batch import PAGE_SIZE
from openmimo.chat import ChatFormat
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.config import ModelConfig, TrunkState, WindowReading
from openmimo.costs import layer_kv_bytes
from openmimo.engine import Engine, MtpChoice, find_eos_ids, max_drafts
from openmimo.errors import ConfigError
from openmimo.tokenizer import Tokenizer

__all__ = ["load"]

Weights = Literal["f32", "bf16", "q8", "q4"]
KvKind = Literal["f32", "bf16", "int8"]
MAX_THREADS = 256
MAX_SLOTS = 1024


def load(
    folder: str | Path | None = None,
    weights: Weights | None = None,
    threads: int | None = None,
    kv: KvKind | None = None,
    mtp: MtpChoice = "auto",
    num_slots: int = 16,
    cache_bytes: int = 2**30,
    window: WindowReading = "past",
    mtp_trunk_state: TrunkState = "pre_norm",
) -> Engine:
    """Open a checkpoint and start an engine on the native back end.

    Args:
        folder: checkpoint folder (config.json, *.safetensors; tokenizer.json for text); None is the default model.
        weights: number format to compute with; None is the one that most of the folder is stored in, q8 for FP8 and
            MXFP4.
        threads: CPU threads; None takes the physical cores that this process may use.
        kv: number format of the caches; None is f32 with f32 weights, else bf16.
        mtp: drafts in a decode step: "auto" (as many as pay), "off", or a number.
        num_slots: requests that can run at once; more wait.
        cache_bytes: memory for the caches of global-attention layers. It is shared by all running requests and limits
            the context: `engine.max_context`. Less is taken if `num_slots` full contexts need less.
        window: as for `Checkpoint.open`.
        mtp_trunk_state: as for `Checkpoint.open`.
    Returns: the engine; close it, or use it in a `with` block.
    Raises:
        CheckpointError: a file or tensor is missing or unusable.
        ConfigError: a setting cannot work; nothing was loaded.
    """
    _check_choice("weights", weights, (None, *get_args(Weights)))
    _check_choice("kv", kv, (None, *get_args(KvKind)))
    _check_choice("window", window, get_args(WindowReading))
    _check_choice("mtp_trunk_state", mtp_trunk_state, get_args(TrunkState))
    _check_integer("threads", 1 if threads is None else threads, 1, MAX_THREADS)
    _check_integer("num_slots", num_slots, 1, MAX_SLOTS)
    _check_integer("cache_bytes", cache_bytes, 1, 2**60)
    folder = default_model_path() if folder is None else Path(folder)
    checkpoint = Checkpoint.open(folder, window, mtp_trunk_state)
    config = checkpoint.config
    max_drafts(mtp, config.num_mtp_layers)
    weights = weights or _stored_weights(checkpoint.num_bytes_by_format())
    kv = kv or ("f32" if weights == "f32" else "bf16")
    has_tokenizer = (folder / "tokenizer.json").is_file()
    tokenizer = Tokenizer.load(folder) if has_tokenizer else None
    chat = ChatFormat.load(folder, tokenizer, config.family) if tokenizer is not None else None
    eos_ids = find_eos_ids(folder, config, tokenizer)

    from openmimo.native import NativeBackend  # the extension is needed here only

    backend = NativeBackend(
        checkpoint,
        weights=weights,
        threads=available_cores() if threads is None else threads,
        num_slots=num_slots,
        num_pages=count_pages(config, num_slots, cache_bytes, kv),
        kv=kv,
    )
    return Engine(backend, tokenizer, chat, eos_ids, mtp)


def _check_choice(name: str, value: object, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        shown = ", ".join("none" if item is None else item for item in allowed)
        raise ConfigError(f"{name}={value!r} is not known: use one of {shown}")


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}={value!r} must be an integer from {low} to {high}")


def _stored_weights(bytes_by_format: dict[str, int]) -> Weights:
    """The format to compute with, given those on disk, the one with most bytes first."""
    kinds: dict[str, Weights] = {"q4": "q4", "q8": "q8", "fp8": "q8", "mxfp4": "q8", "F32": "f32"}
    codes = [name for name in bytes_by_format if name in ("q4", "q8", "fp8", "mxfp4")]
    return kinds.get([*codes, *bytes_by_format][0], "bf16")


def count_pages(config: ModelConfig, num_slots: int, cache_bytes: int, kv: KvKind) -> int:
    """Choose the number of cache pages.

    Args:
        config: shape of the model.
        num_slots: requests that may run at once.
        cache_bytes: most memory to use.
        kv: number format of the caches.
    Returns: pages for `num_slots` full contexts if they fit into `cache_bytes`, else as many as fit, at least 1.
    """
    layers = [*config.layers, *[config.mtp_layer] * config.num_mtp_layers]
    page_bytes = sum(layer_kv_bytes(layer, PAGE_SIZE, kv) for layer in layers if layer.window is None)
    wanted = num_slots * -(-config.max_position_embeddings // PAGE_SIZE)
    return max(1, min(wanted, cache_bytes // page_bytes)) if page_bytes else wanted


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
