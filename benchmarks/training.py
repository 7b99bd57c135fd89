"""What a training step of the default model costs, part by part, and what share of the machine's products it reaches.

One process, one thread, batches of recipes/nano.py that the model in the package has marked. Prints medians and spreads
over the steps, and the ratio of the step's multiplications (6 a token and active weight, attention not counted) to what
the machine does in a square product in the same run; both in bfloat16 where the processor has it, as in training:

    python benchmarks/training.py
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

import nano

from openmimo.bench import machine
from openmimo.checkpoint import default_model_path
from openmimo.config import parse_config
from openmimo.costs import count_parameters
from openmimo.model.model import new_model, published_tensors
from openmimo.train.loss import LossWeights, compute_losses
from openmimo.train.memory import keep_freed_memory
from openmimo.train.mining import Marker
from openmimo.train.optim import make_optimizers
from openmimo.train.processes import CPU, computes_bf16

WARM_UP = 4
"""Steps that are not timed: every new shape builds kernels."""
SIDE = 2048


class Stopwatch:
    """Seconds by part, a list for each."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="timed steps (default %(default)s)")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    keep_freed_memory()
    config = nano.published_config(0)
    model = new_model(parse_config(config), seed=0)
    nano.take_weights(model, default_model_path())
    marker = Marker(config, published_tensors(model))
    optimizers = make_optimizers(model.train(), nano.OPTIM)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = 0.0  # the same weights throughout
    watch, tokens = Stopwatch(), list[int]()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_bytes((default_model_path() / "tokenizer.json").read_bytes())
        trees, _ = nano.prepare(Path(folder))
        for step in range(WARM_UP + steps):
            with watch.part("draw and mark"):
                batch = trees.training(step, 1, marker)
            with watch.part("forward"), torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16(CPU)):
                losses = compute_losses(model, batch, LossWeights(mtp=0.0))
            with watch.part("backward"):
                losses.total.backward()
            with watch.part("update"):
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            tokens.append(batch.num_tokens)
    report(watch.seconds, tokens, count_parameters(model.config).active + model.lm_head.weight.numel())


def report(seconds: dict[str, list[float]], tokens: list[int], active: int) -> None:
    """Print medians, the range, and the ratio to the machine's products."""
    print(machine())
    print("| part | median, s | range |\n| --- | ---: | ---: |")
    whole = [sum(parts) for parts in zip(*seconds.values(), strict=True)]
    for name, values in [*seconds.items(), ("step", whole)]:
        timed = values[WARM_UP:]
        print(f"| {name} | {statistics.median(timed):.2f} | {min(timed):.2f}-{max(timed):.2f} |")
    rates = [count / (a + b) for count, a, b in zip(tokens, seconds["forward"], seconds["backward"], strict=True)]
    rate, limit = statistics.median(rates[WARM_UP:]), product_rate()
    overall = statistics.median(count / spent for count, spent in zip(tokens[WARM_UP:], whole[WARM_UP:], strict=True))
    print(f"{overall:.0f} tokens/s; forward and backward {rate:.0f},")
    print(f"{6 * active * rate / 1e9:.1f} of {limit / 1e9:.1f} GFLOP/s, ratio {6 * active * rate / limit:.2f}")


def product_rate() -> float:
    """Operations a second of a square product, the median of five."""
    matrix = torch.randn(SIDE, SIDE, dtype=torch.bfloat16 if computes_bf16(CPU) else torch.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / statistics.median(seconds)


if __name__ == "__main__":
    main()
