"""What number formats cost in quality: how far they move the next-token distribution of float32.

For each model and format: mean KL divergence to float32 over all positions, and the share of positions whose most
likely token stays the same. The default model reads held-out home conversations with their right replies; the random
models read random tokens. Prints the table of docs/checkpoint.md:

    python benchmarks/quality.py
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openmimo.batch import PAGE_SIZE
from openmimo.chat import ChatFormat
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.engine import Engine
from openmimo.environments.home import HomeEnvironment
from openmimo.native import KvKind, NativeBackend, WeightKind
from openmimo.tokenizer import Tokenizer

SETTINGS: tuple[tuple[WeightKind, KvKind], ...] = (
    ("bf16", "bf16"), ("q8", "bf16"), ("q4", "bf16"), ("f32", "int8"), ("q8", "int8"), ("q4", "int8"),
)  # fmt: skip
ORACLES = Path(__file__).parents[1] / "tests" / "oracles"
RANDOM = ("mimo_v2_flash_tiny", "mimo_7b_tiny", "mimo_v25_fp8_tiny", "mimo_v25_mxfp4_tiny")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=16, help="texts for each model (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=256, help="most tokens of a text (default %(default)s)")
    args = parser.parse_args()
    print("| model | weights | KV cache | KL to f32 | same first choice |\n| --- | --- | --- | --- | --- |")
    for folder in (default_model_path(), *(ORACLES / name for name in RANDOM)):
        texts = read_texts(folder, args.texts, args.tokens)
        exact = log_probabilities(folder, "f32", "f32", texts)
        name = "default model" if folder == default_model_path() else folder.name
        for weights, cache in SETTINGS:
            rounded = log_probabilities(folder, weights, cache, texts)
            divergence = (np.exp(exact) * (exact - rounded)).sum(axis=1).mean()
            same = (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()
            print(f"| {name} | {weights} | {cache} | {divergence:.2e} | {100 * same:.2f}% |", flush=True)


def read_texts(folder: Path, count: int, length: int) -> list[list[int]]:
    """Token ids that the model is to predict, not longer than `length` each."""
    if folder != default_model_path():
        rng = np.random.default_rng(0)
        vocab = 256  # what every fixture has
        return [rng.integers(0, vocab, length).tolist() for _ in range(count)]
    chat = ChatFormat.load(folder, Tokenizer.load(folder), "v2")
    tasks = HomeEnvironment().tasks("eval", 0, count)
    played = (chat.encode([*task.messages, *task.gold], task.tools, add_generation_prompt=False) for task in tasks)
    return [ids[-length:] for ids in played]


def log_probabilities(folder: Path, weights: WeightKind, cache: KvKind, texts: Sequence[list[int]]) -> np.ndarray:
    """Log-probabilities of every next token, float32 [positions of all texts, vocabulary]."""
    pages = -(-max(map(len, texts)) // PAGE_SIZE)
    backend = NativeBackend(Checkpoint.open(folder), weights, threads=1, num_slots=1, num_pages=pages, kv=cache)
    with Engine(backend, mtp="off") as engine:
        logits = np.concatenate([engine.logits(ids) for ids in texts]).astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


if __name__ == "__main__":
    main()
