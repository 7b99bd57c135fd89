"""Decode speed of the default model: number formats and drafting, as ratios measured in one run.

Each setting is timed `--repeats` times in turn with the others, so that a noisy machine disturbs all alike. Two texts:
requests about homes, which is what the model writes (drafts are often right), and a pseudo-random prompt continued
past its end, which is what it does not (drafts are mostly wrong).

    python benchmarks/decode.py --threads 2
"""

import argparse
import json
import platform
import statistics
from dataclasses import dataclass, field
from typing import Literal

import openmimo
from openmimo.bench import processor
from openmimo.engine import Engine
from openmimo.environments.home import HomeEnvironment

Setting = tuple[Literal["f32", "bf16", "q8"], Literal["auto", "off"] | int]
SETTINGS: tuple[Setting, ...] = (("f32", "off"), ("bf16", "off"), ("q8", "off"), ("q8", 3), ("q8", "auto"))
BASELINE: Setting = ("q8", "off")


@dataclass
class Timing:
    """Rates of one setting on one text, tokens/s; tokens and steps for the acceptance length."""

    rates: list[float] = field(default_factory=list)
    tokens: int = 0
    steps: int = 0


def home_requests(engine: Engine, count: int) -> list[list[int]]:
    """Encoded requests about held-out homes."""
    assert engine.chat is not None
    tasks = HomeEnvironment().tasks("eval", 3, count)
    return [engine.chat.encode(task.messages, task.tools) for task in tasks]


def noise(engine: Engine) -> list[list[int]]:
    """One prompt without meaning."""
    return [[(7919 * i + 13) % engine.config.vocab_size for i in range(256)]]


def time_once(engine: Engine, prompts: list[list[int]], params: openmimo.SamplingParams, timing: Timing) -> None:
    """Decode every prompt once, one at a time, and add the mean rate."""
    stats = [engine.generate(prompt, params).stats for prompt in prompts]
    timing.rates.append(sum(s.new_tokens - 1 for s in stats) / sum(s.decode_s for s in stats))
    timing.tokens += sum(s.new_tokens for s in stats)
    timing.steps += sum(s.steps for s in stats)


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20, help="home requests of one timing (default %(default)s)")
    args = parser.parse_args()
    engines = {setting: openmimo.load(weights=setting[0], mtp=setting[1], threads=args.threads) for setting in SETTINGS}
    greedy = openmimo.SamplingParams(temperature=0.0, max_new_tokens=128)
    endless = openmimo.SamplingParams(temperature=0.0, max_new_tokens=256, ignore_eos=True)
    first = engines[BASELINE]
    texts = {"home": (home_requests(first, args.requests), greedy), "noise": (noise(first), endless)}
    results = []
    for text, (prompts, params) in texts.items():
        timings = {setting: Timing() for setting in SETTINGS}
        for engine in engines.values():
            engine.generate(prompts[0], params)
        for _ in range(args.repeats):
            for setting, engine in engines.items():
                time_once(engine, prompts, params, timings[setting])
        results += [_row(text, setting, timing, timings[BASELINE]) for setting, timing in timings.items()]
    for row in results:
        print("{text:6s} {weights:5s} mtp {mtp:5s} {tokens_per_s:8.0f} tok/s  {ratio:5.2f}x q8 plain"
              "  {acceptance:.2f} tokens a step  spread {spread:.0%}".format(**row))  # fmt: skip
    print(json.dumps({"machine": f"{platform.machine()} {processor()}", "threads": args.threads, "rows": results}))
    for engine in engines.values():
        engine.close()


def _row(text: str, setting: tuple[str, object], timing: Timing, baseline: Timing) -> dict[str, object]:
    median = statistics.median(timing.rates)
    return {
        "text": text,
        "weights": setting[0],
        "mtp": str(setting[1]),
        "tokens_per_s": round(median, 1),
        "ratio": round(median / statistics.median(baseline.rates), 3),
        "acceptance": round(timing.tokens / max(timing.steps, 1), 3),
        "spread": round((max(timing.rates) - min(timing.rates)) / median, 3),
    }


if __name__ == "__main__":
    main()
