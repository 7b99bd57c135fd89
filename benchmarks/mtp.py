"""Decoding without drafts, with a fixed number of them, and with as many as pay: ratios measured in one run.

Each setting decodes all prompts in turn with the others, `--repeats` times, so that a noisy machine disturbs all alike.
Without a folder it is the default model: requests about homes, which is what it writes (drafts are often right), and a
pseudo-random prompt, which is what it does not (drafts are mostly wrong). Other folders get the pseudo-random prompt.

    python benchmarks/mtp.py [FOLDER...] --weights q8 --threads 2
"""

import argparse
import json
import platform
import statistics
from dataclasses import dataclass, field
from typing import Literal

import openmimo
from openmimo.bench import noise, processor
from openmimo.engine import Engine
from openmimo.environments.home import HomeEnvironment

Setting = Literal["auto", "off"] | int
Prompts = list[list[int]]


@dataclass
class Timing:
    """Rates of one setting, tokens/s; tokens and steps for the acceptance length."""

    rates: list[float] = field(default_factory=list)
    tokens: int = 0
    steps: int = 0

    def add(self, engine: Engine, prompts: Prompts, params: openmimo.SamplingParams) -> None:
        """Decode every prompt, one at a time."""
        stats = [engine.generate(prompt, params).stats for prompt in prompts]
        self.rates.append(sum(s.new_tokens - 1 for s in stats) / sum(s.decode_s for s in stats))
        self.tokens += sum(s.new_tokens - 1 for s in stats)
        self.steps += sum(s.steps for s in stats)


def home_requests(engine: Engine, count: int) -> Prompts:
    """Encoded requests about held-out homes."""
    assert engine.chat is not None
    return [engine.chat.encode(task.messages, task.tools) for task in HomeEnvironment().tasks("eval", 3, count)]


def compare(folder: str | None, args: argparse.Namespace) -> list[dict[str, object]]:
    """Time all settings on one checkpoint."""
    plain = openmimo.load(folder, weights=args.weights, mtp="off", threads=args.threads)
    backend = plain._worker.backend  # shared: a second copy of the weights would not lie as well in memory
    engines: dict[Setting, Engine] = {"off": plain}
    for setting in (*args.drafts, "auto"):
        engines[setting] = Engine(backend, plain.tokenizer, plain.chat, sorted(plain._worker.eos_ids), setting)
    texts = {"noise": ([noise(args.prompt_tokens, plain.config.vocab_size)], True)}
    if folder is None:
        texts["home"] = (home_requests(engines["off"], args.requests), False)
    rows = []
    for text, (prompts, ignore_eos) in texts.items():
        params = openmimo.SamplingParams(temperature=0.0, max_new_tokens=args.new_tokens, ignore_eos=ignore_eos)
        timings: dict[Setting, Timing] = {setting: Timing() for setting in engines}
        for repeat in range(args.repeats + 1):
            for setting, engine in engines.items():
                backend.start(engine._worker.num_ids, engine._worker.max_drafts)
                (timings[setting] if repeat else Timing()).add(engine, prompts, params)
        baseline = statistics.median(timings["off"].rates)
        for setting, timing in timings.items():
            median = statistics.median(timing.rates)
            rows.append({
                "folder": folder or "default", "text": text, "mtp": str(setting), "tokens_per_s": round(median, 1),
                "ratio": round(median / baseline, 3), "tokens_per_step": round(timing.tokens / timing.steps, 2),
                "spread": round((max(timing.rates) - min(timing.rates)) / median, 2),
                "reason": engines[setting].mtp_status.reason,
            })  # fmt: skip
    for engine in engines.values():
        engine.close()
    return rows


def main() -> None:
    """Command line of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=[None], help="checkpoints (default: the model that is shipped)")
    parser.add_argument("--weights", default="q8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drafts", type=int, nargs="*", default=[3], help="fixed numbers to compare (default 3)")
    parser.add_argument("--prompt-tokens", type=int, default=256)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20, help="home requests of one timing (default %(default)s)")
    args = parser.parse_args()
    rows = [row for folder in args.folders for row in compare(folder, args)]
    for row in rows:
        print("{folder} {text:5s} mtp {mtp:4s} {tokens_per_s:8.1f} tok/s {ratio:5.2f}x, {tokens_per_step:.2f} a step"
              ", spread {spread:.0%}; {reason}".format(**row))  # fmt: skip
    print(json.dumps({"machine": f"{platform.machine()} {processor()}", "threads": args.threads, "rows": rows}))


if __name__ == "__main__":
    main()
