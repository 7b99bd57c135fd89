"""Speed of an engine, against what the machine itself can do: rates, first token, acceptance, memory."""

import os
import platform
import resource
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmimo import _native
from openmimo.config import ModelConfig
from openmimo.costs import count_parameters, kv_bytes, weight_bytes_per_token
from openmimo.engine import Completion, Engine, SamplingParams
from openmimo.errors import ConfigError
from openmimo.native import NativeBackend

__all__ = [
    "Load",
    "available_memory",
    "bytes_per_token",
    "format_result",
    "machine",
    "measure",
    "measure_limits",
    "noise",
    "operations_per_token",
    "processor",
]

PROBE_BYTES = 2**29


@dataclass(frozen=True)
class Load:
    """What to time.

    Args:
        prompt_tokens: prompt length of the prefill figure.
        new_tokens: tokens that each request decodes.
        batch: requests that decode side by side.
        context: tokens that each request holds before it decodes.
        repeats: timed runs; one warm-up run comes first.
    Raises:
        ConfigError: a number is too small.
    """

    prompt_tokens: int = 512
    new_tokens: int = 128
    batch: int = 1
    context: int = 0
    repeats: int = 5

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "new_tokens", "batch", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be at least 1")
        if self.context < 0:
            raise ConfigError(f"context={self.context} must be at least 0")


def noise(count: int, vocab_size: int, start: int = 0) -> list[int]:
    """A prompt without meaning, the same on every machine.

    Args:
        count: tokens.
        vocab_size: how many ids there are.
        start: another one gives another prompt.
    Returns: token ids.
    """
    return [(7919 * (start + i) + 13) % vocab_size for i in range(count)]


def measure(engine: Engine, load: Load) -> dict[str, Any]:
    """Time greedy generation from pseudo-random prompts.

    Args:
        engine: idle, on the native back end.
        load: what to time.
    Returns: medians in tokens/s and seconds, with the extremes of the decode rate, and what machine it was. The share
        of the bandwidth counts what a token without drafts must read; drafts can push it past 1.
    """
    backend = engine._worker.backend
    assert isinstance(backend, NativeBackend)
    _decode(engine, Load(16, 8, load.batch, 0, 1))
    prefills = [_prefill(engine, load) for _ in range(load.repeats)]
    decodes = [_decode(engine, load) for _ in range(load.repeats)]
    rates = [rate for rate, _ in decodes]
    stats = [completion.stats for _, completions in decodes for completion in completions]
    decode = statistics.median(rates)
    read = bytes_per_token(engine.config, backend.weights, load.context, backend.kv) if load.batch == 1 else None
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before the probe below takes some
    limits = measure_limits(backend.threads)
    prefill = statistics.median(load.prompt_tokens / seconds for seconds in prefills)
    operations = operations_per_token(engine.config)
    return {
        "prompt_tokens": load.prompt_tokens,
        "new_tokens": load.new_tokens,
        "batch": load.batch,
        "context": load.context,
        "repeats": load.repeats,
        "weights": backend.weights,
        "kv": backend.kv,
        "threads": backend.threads,
        "prefill_tokens_per_s": round(prefill, 1),
        "decode_tokens_per_s": round(decode, 1),
        "decode_range": [round(min(rates), 1), round(max(rates), 1)],
        "time_to_first_token_s": round(statistics.median(prefills), 5),
        "acceptance_length": round(statistics.median(run.tokens_per_step for run in stats), 3),
        "mtp": engine.mtp_status.reason,
        "peak_memory_bytes": peak_memory,
        "bandwidth_bytes_per_s": round(limits["bytes_per_s"]),
        "int8_operations_per_s": round(limits["int8_operations_per_s"]),
        "bytes_read_per_token": read,
        "decode_share_of_bandwidth": round(decode * read / limits["bytes_per_s"], 3) if read else None,
        "prefill_share_of_int8_peak": _share(prefill * operations, limits["int8_operations_per_s"]),
        "machine": machine(),
    }


def format_result(result: dict[str, Any]) -> str:
    """The figures of `measure`, one a line."""
    return "\n".join(f"{key:28s} {_text(key, value)}" for key, value in result.items() if value is not None)


def measure_limits(threads: int) -> dict[str, float]:
    """Measure the machine, which takes about a second.

    Args:
        threads: how many work at once.
    Returns: `bytes_per_s` read from memory and `int8_operations_per_s` of dot products (0 where there are none).
    """
    size = min(PROBE_BYTES, available_memory() // 4)
    return {
        "bytes_per_s": _native.read_bandwidth(threads, size),
        "int8_operations_per_s": _native.int8_peak(threads),
    }


def bytes_per_token(config: ModelConfig, weights: str, context: int, kv: str | None = None) -> int:
    """What decoding one token of one request must read.

    Args:
        config: the model's shape.
        weights: number format of the matrices.
        context: cached positions.
        kv: number format of the cache; None is what goes with `weights`.
    Returns: bytes of active weights (the head's too, the embedding's not) and of keys and values.
    """
    kv = kv or ("f32" if weights == "f32" else "bf16")
    return weight_bytes_per_token(config, weights) + kv_bytes(config, context, kv)


def operations_per_token(config: ModelConfig) -> int:
    """Operations of one prompt token in the matrices, a multiply-add being two; the head runs for the last token only.

    Args:
        config: the model's shape.
    Returns: operations.
    """
    return 2 * count_parameters(config).active


def available_memory() -> int:
    """Bytes that a new program can take without pushing others out."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def machine() -> str:
    """Architecture, CPU and how many there are."""
    return f"{platform.machine()} {processor()} x{os.cpu_count()}"


def processor() -> str:
    """The CPU's model name, as the machine tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _prefill(engine: Engine, load: Load) -> float:
    """Seconds to the first token of one prompt."""
    params = SamplingParams(temperature=0.0, max_new_tokens=1, ignore_eos=True)
    return engine.generate(noise(load.prompt_tokens, engine.config.vocab_size), params).stats.prefill_s


def _decode(engine: Engine, load: Load) -> tuple[float, list[Completion]]:
    """Tokens/s of all requests together, from the moment that the last of them has its first token."""
    params = SamplingParams(temperature=0.0, max_new_tokens=load.new_tokens + 1, ignore_eos=True)
    vocab_size = engine.config.vocab_size
    prompts = [noise(max(1, load.context), vocab_size, 1000 * index) for index in range(load.batch)]
    handles = [engine.submit(prompt, params) for prompt in prompts]
    if load.batch == 1:
        completion = handles[0].result()
        return (completion.stats.new_tokens - 1) / completion.stats.decode_s, [completion]
    streams = [iter(handle) for handle in handles]
    for stream in streams:
        next(stream)
    begin_s, before = time.perf_counter(), sum(handle.request.num_new for handle in handles)
    completions = [handle.result() for handle in handles]
    seconds = time.perf_counter() - begin_s
    return (sum(completion.stats.new_tokens for completion in completions) - before) / seconds, completions


def _share(value: float, limit: float) -> float | None:
    return round(value / limit, 3) if limit else None


def _text(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return f"{value / 1e6:,.0f} MB"
    if key == "bytes_read_per_token":
        return f"{value / 1e6:,.1f} MB"
    if key == "bandwidth_bytes_per_s":
        return f"{value / 1e9:.1f} GB/s"
    if key == "int8_operations_per_s":
        return f"{value / 1e12:.2f} Top/s" if value else "unknown"
    if "share" in key:
        return f"{value:.0%}"
    if isinstance(value, list):
        return " to ".join(map(str, value))
    return str(value)
