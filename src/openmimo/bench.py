"""Speed of an engine: prefill and decode rates, time to first token, acceptance length, memory."""

import platform
import resource
import statistics
from typing import Any

from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams

__all__ = ["format_result", "measure", "processor"]


def measure(engine: Engine, prompt_tokens: int, new_tokens: int, repeats: int) -> dict[str, Any]:
    """Time greedy generation from a pseudo-random prompt.

    Args:
        engine: idle.
        prompt_tokens: prompt length.
        new_tokens: tokens decoded after it.
        repeats: timed runs; one warm-up run comes first.
    Returns:
        medians in tokens/s and seconds, with the extremes of the decode rate, and what machine it was.
    """
    vocab_size = engine.config.vocab_size
    prompt = [(7919 * i + 13) % vocab_size for i in range(prompt_tokens)]
    params = SamplingParams(temperature=0.0, max_new_tokens=new_tokens, ignore_eos=True)
    engine.generate(prompt, params)
    runs = [engine.generate(prompt, params).stats for _ in range(repeats)]
    decode = [(run.new_tokens - 1) / run.decode_s for run in runs]
    return {
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "repeats": repeats,
        "prefill_tokens_per_s": round(statistics.median(run.prompt_tokens / run.prefill_s for run in runs), 1),
        "decode_tokens_per_s": round(statistics.median(decode), 1),
        "decode_range": [round(min(decode), 1), round(max(decode), 1)],
        "time_to_first_token_s": round(statistics.median(run.prefill_s for run in runs), 5),
        "acceptance_length": round(statistics.median(run.new_tokens / max(run.steps, 1) for run in runs), 3),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "machine": f"{platform.machine()} {processor()}",
    }


def format_result(result: dict[str, Any]) -> str:
    """The figures of `measure`, one a line."""
    return "\n".join(f"{key:24s} {value}" for key, value in result.items())


def processor() -> str:
    """The CPU's model name, as the machine tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
