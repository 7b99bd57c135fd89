"""Prefill and decode beside llama.cpp and ik_llama.cpp, on one machine, in one run, against the machine's own limits.

The models are the random checkpoints of checkpoints.py, made when first needed (S 43 M parameters, M 1.5 B, D7 7.6 B;
the first two have the shape of MiMo-V2-Flash, the last that of MiMo-7B). Every engine sits in a process of its own and
is blocked while another one is timed; all are timed in turn, so that a noisy machine disturbs all alike. Figures are
medians with (min..max). A peer is timed with and without flash attention, and its better setting counts.

    python benchmarks/decode.py --models S,M
    python benchmarks/decode.py --models S --quick --peer-python .venv-peers/bin/python

The peers are Python packages that build their engine from source. They may live in an environment of their own:

    python -m venv .venv-peers
    CMAKE_ARGS=-DGGML_NATIVE=ON .venv-peers/bin/pip install --no-binary :all: llama-cpp-python ik-llama-cpp-python
    .venv-peers/bin/pip install gguf
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints

from openmimo.bench import bytes_per_token, machine, measure_limits, noise, operations_per_token
from openmimo.config import read_config

HERE = Path(__file__).parent
PEERS = {"llama.cpp": "llama_cpp", "ik_llama.cpp": "ik_llama_cpp"}
GGUF_TYPES = {"q4": "q4_0", "q8": "q8_0", "bf16": "bf16"}
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"


@dataclass(frozen=True)
class Row:
    """One thing to time."""

    label: str
    do: str
    tokens: int
    """Prompt tokens, or tokens that one timing decodes (of all sequences together)."""
    context: int = 0
    batch: int = 1
    is_busy: bool = False

    def request(self, flash: bool) -> dict[str, Any]:
        """What to ask a worker for."""
        if self.do == "prefill":
            return {"do": "prefill", "flash": flash, "tokens": self.tokens}
        steps = self.tokens // self.batch
        return {"do": "decode", "flash": flash, "context": self.context, "batch": self.batch, "steps": steps}


def rows(steps: int, contexts: Sequence[int], batches: Sequence[int], prompts: Sequence[int]) -> list[Row]:
    """The whole list for one model."""
    return [
        *(Row(f"prefill {tokens}", "prefill", tokens) for tokens in prompts),
        *(
            Row(f"decode at {context}", "decode", steps if context < 1024 else steps // 2, context)
            for context in contexts
        ),
        *(Row(f"decode, batch {batch}", "decode", steps * batch // 2, 128, batch) for batch in batches),
        Row("decode beside a busy process", "decode", steps // 4, 0, 1, is_busy=True),
    ]


@dataclass
class Engine:
    """A worker process."""

    name: str
    process: subprocess.Popen[str]
    settings: list[bool]
    """With flash attention, without."""
    load_s: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self.process.wait()}")
        return json.loads(line)


@contextmanager
def start(name: str, words: list[str], settings: list[bool]) -> Iterator[Engine]:
    """Run a worker and wait until it has loaded."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as it:
        engine = Engine(name, it, settings)
        engine.load_s = engine.answer()["load_s"]
        try:
            yield engine
        finally:
            assert it.stdin
            it.stdin.close()


@contextmanager
def busy_process() -> Iterator[None]:
    """A process that never rests, with the same right to the processor as this one."""
    process = subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True)
    try:  # a new session is a scheduling group of its own; it gets this one's weight
        weight = Path("/proc/self/autogroup").read_text().split()[-1]
        Path(f"/proc/{process.pid}/autogroup").write_text(weight)
    except OSError:
        pass
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def time_row(engines: Sequence[Engine], row: Row, repeats: int, seconds: float) -> dict[str, list[float]]:
    """Rates of every engine, tokens/s; one that is slow gets fewer repeats, at least one."""
    taken: dict[tuple[str, bool], list[float]] = {(e.name, flash): [] for e in engines for flash in e.settings}
    settings = {engine.name: list(engine.settings) for engine in engines}
    spent = dict.fromkeys(settings, 0.0)
    for engine in engines if row.do == "decode" else ():
        for flash in engine.settings:
            engine.ask(do="fill", flash=flash, context=row.context, batch=row.batch)
    with busy_process() if row.is_busy else ExitStack():
        for repeat in range(repeats):
            for engine in engines:
                for flash in settings[engine.name] if repeat == 0 or spent[engine.name] < seconds else ():
                    used = engine.ask(**row.request(flash))["seconds"]
                    spent[engine.name] += used
                    taken[engine.name, flash].append(row.tokens / used)
                if repeat == 0:
                    settings[engine.name] = [max(settings[engine.name], key=lambda flash: taken[engine.name, flash][0])]
    return {engine.name: taken[engine.name, settings[engine.name][0]] for engine in engines}


def available_peers(python: str) -> list[str]:
    """The peers that an interpreter can import; says how to get the others."""
    found = []
    for name, module in PEERS.items():
        done = subprocess.run([python, "-c", f"import {module}, gguf"], capture_output=True, check=False)
        if done.returncode == 0:
            found.append(name)
        else:
            package = module.replace("_", "-") + "-python"
            print(f"{name} left out: {python} has no {module} and gguf; pip install {package} gguf, or --peer-python")
    return found


def gguf_file(python: str, folder: Path, kind: str) -> Path:
    """The checkpoint as a GGUF file, written first if it is not there."""
    path = folder.with_name(f"{folder.name}-{kind}.gguf")
    if not path.is_file():
        print(f"writing {path}", flush=True)
        subprocess.run([python, HERE / "gguf_file.py", folder, path, kind], check=True)
    return path


def compare_logits(engines: Sequence[Engine], vocab_size: int) -> dict[str, float]:
    """Cosine of each peer's logits with ours after the same 48 tokens: who computes something else is no peer."""
    ids = noise(48, vocab_size)
    answers = {engine.name: engine.ask(do="logits", flash=engine.settings[0], ids=ids)["logits"] for engine in engines}
    ours = answers.pop(engines[0].name)
    return {name: round(cosine(ours, theirs), 4) for name, theirs in answers.items()}


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two vectors."""
    dot, aa, bb = (sum(x * y for x, y in zip(p, q, strict=True)) for p, q in ((a, b), (a, a), (b, b)))
    return dot / (aa * bb) ** 0.5


def run_model(name: str, args: argparse.Namespace, peers: Sequence[str], limits: dict[str, float]) -> dict[str, Any]:
    """Time all engines on one model and print its table."""
    folder = checkpoints.ensure(name, folder=args.folder)
    config = read_config(folder)
    steps = {"S": 128, "M": 32, "D7": 8}[name]
    wanted = rows(steps, (0, 4096) if args.quick else (0, 4096, 16384), () if args.quick else (4, 16),
                  (512,) if args.quick else (512, 4096))  # fmt: skip
    wanted = [row for row in wanted if row.label.startswith(args.only or "")]
    threads = ["--threads", str(args.threads)]
    own = [sys.executable, str(HERE / "own_worker.py"), str(folder), "--weights", args.weights, *threads]
    with ExitStack() as stack:
        engines = [stack.enter_context(start("openmimo", own, [True]))]
        for peer in peers:
            path = gguf_file(args.peer_python, folder, GGUF_TYPES[args.weights])
            words = [args.peer_python, str(HERE / "peer_worker.py"), peer, str(path), *threads]
            engines.append(stack.enter_context(start(peer, words, [True, False])))
        agreement = compare_logits(engines, config.vocab_size)
        results = []
        for row in wanted:
            rates = time_row(engines, row, args.repeats, args.seconds)
            results.append(result_of(row, rates, config, args.weights, limits))
            print(format_row(results[-1]), flush=True)
            if row is wanted[0]:
                for engine in engines:
                    engine.memory = engine.ask(do="memory")
    return {
        "model": name,
        "weights": args.weights,
        "logits_cosine": agreement,
        "load_s": {engine.name: round(engine.load_s, 2) for engine in engines},
        "memory_bytes": {engine.name: engine.memory["bytes"] for engine in engines},
        "peak_memory_bytes": {engine.name: engine.memory["peak"] for engine in engines},
        "rows": results,
    }


def result_of(
    row: Row, rates: dict[str, list[float]], config: Any, weights: str, limits: dict[str, float]
) -> dict[str, Any]:
    """Medians, extremes, ratios, and our share of the machine's limit."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if row.do == "prefill":
        share = medians["openmimo"] * operations_per_token(config) / limits["int8_operations_per_s"]
    else:
        share = medians["openmimo"] / row.batch * bytes_per_token(config, weights, row.context) / limits["bytes_per_s"]
    return {
        "row": row.label,
        "tokens_per_s": {name: round(value, 1) for name, value in medians.items()},
        "range": {name: [round(min(values), 1), round(max(values), 1)] for name, values in rates.items()},
        "ratio": {name: round(medians["openmimo"] / value, 2) for name, value in medians.items() if name in PEERS},
        "share_of_limit": round(share, 3) if row.batch == 1 and not row.is_busy else None,
    }


def format_row(result: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [f"  {result['row']:30s}"]
    for name, rate in result["tokens_per_s"].items():
        low, high = result["range"][name]
        ratio = f" {result['ratio'][name]:5.2f}x" if name in result["ratio"] else ""
        cells.append(f"{name} {rate:8.1f} ({low:.0f}..{high:.0f}){ratio}")
    share = result["share_of_limit"]
    return "   ".join(cells) + (f"   {share:.0%} of the limit" if share is not None else "")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="S,M", help="of S, M, D7 (default %(default)s)")
    parser.add_argument("--weights", default="q4", choices=sorted(GGUF_TYPES), help="default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each row (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one row and engine, before it repeats no more")
    parser.add_argument("--quick", action="store_true", help="prefill 512, decode at 0 and 4096, no batches")
    parser.add_argument("--only", help="rows whose name begins so, for example 'decode at'")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers (default: this)")
    parser.add_argument("--folder", type=Path, default=checkpoints.FOLDER, help="checkpoints (default %(default)s)")
    args = parser.parse_args()
    peers = available_peers(args.peer_python)
    limits = measure_limits(args.threads)
    print(f"{machine()}, {args.threads} threads: reads {limits['bytes_per_s'] / 1e9:.1f} GB/s, "
          f"int8 {limits['int8_operations_per_s'] / 1e12:.2f} Top/s")  # fmt: skip
    results = []
    for name in args.models.split(","):
        print(f"{name}, {args.weights}")
        results.append(run_model(name, args, peers, limits))
        print("  load " + ", ".join(f"{peer} {seconds} s" for peer, seconds in results[-1]["load_s"].items()))
        print(
            "  memory " + ", ".join(f"{peer} {size / 1e6:.0f} MB" for peer, size in results[-1]["memory_bytes"].items())
        )
        print(f"  cosine of logits with ours {results[-1]['logits_cosine']}")
    print(json.dumps({"machine": machine(), "threads": args.threads, "limits": limits, "models": results}))


if __name__ == "__main__":
    main()
