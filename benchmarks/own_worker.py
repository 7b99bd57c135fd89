"""The engine of this repository in a process of its own, told over a pipe what to time.

Requests and answers are those of `peer_worker.py`. Where the peers are timed at their C API, this is the whole of
`Engine`: scheduling, greedy sampling and handing out of tokens are in every figure. MTP is off, which no peer has for
MiMo-V2-Flash; benchmarks/mtp.py measures it.
"""

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import openmimo
from openmimo.batch import StepResult
from openmimo.bench import noise
from openmimo.engine import Engine
from openmimo.engine.request import Handle

ENDLESS = 2**20


class Gate:
    """Stands before the back end's forward pass and lets the engine's thread make a counted number of steps.

    Between them the thread is blocked at its next step, so that a request stays where it is while another engine is
    timed, and nothing spins.
    """

    def __init__(self, engine: Engine):
        backend: Any = engine._worker.backend
        self._forward = backend.forward
        backend.forward = self._pass
        self._left = 0
        self._arrived_s = 0.0
        self._is_waiting = threading.Event()
        self._go = threading.Semaphore(0)

    def _pass(self, *args: Any) -> StepResult:
        if self._left == 0:
            self._arrived_s = time.perf_counter()
            self._is_waiting.set()
            self._go.acquire()
        self._left -= 1
        return self._forward(*args)

    def run(self, steps: int) -> float:
        """Make steps; seconds from the first until the engine asks for the next."""
        self._is_waiting.wait()
        self._is_waiting.clear()
        self._left = steps
        start = time.perf_counter()
        self._go.release()
        self._is_waiting.wait()
        return self._arrived_s - start

    def open(self) -> None:
        """Let everything pass until `close`; no request may be running."""
        self._left = ENDLESS

    def close(self) -> None:
        """Block at the next step; no request may be running."""
        self._left = 0


class Own:
    """Answers the requests."""

    def __init__(self, folder: Path, weights: str | None, threads: int):
        self.engine = openmimo.load(folder, weights=weights, threads=threads, mtp="off")  # type: ignore[arg-type]
        self.gate = Gate(self.engine)
        self.running: list[Handle] = []
        self.filled: tuple[int, int] | None = None

    def do_prefill(self, flash: bool, tokens: int) -> dict[str, Any]:
        """Seconds for one prompt, its first token included."""
        self._stop()
        self.gate.open()
        params = openmimo.SamplingParams(temperature=0.0, max_new_tokens=1, ignore_eos=True)
        seconds = self.engine.generate(noise(tokens, self.engine.config.vocab_size), params).stats.prefill_s
        self.gate.close()
        return {"seconds": seconds}

    def do_fill(self, flash: bool, context: int, batch: int) -> dict[str, Any]:
        """Bring `batch` requests to a context (at least one token) and stop before their next step."""
        self._stop()
        prompt = noise(max(context, 1), self.engine.config.vocab_size)
        room = self.engine.max_context - len(prompt)
        params = openmimo.SamplingParams(temperature=0.0, max_new_tokens=room, ignore_eos=True)
        self.running = [self.engine.submit(prompt, params) for _ in range(batch)]
        while any(handle.request.num_new == 0 for handle in self.running):
            self.gate.run(1)
        self.filled = context, batch
        return {}

    def do_decode(self, flash: bool, context: int, batch: int, steps: int) -> dict[str, Any]:
        """Seconds for `steps` steps of all requests. Short contexts start anew each time, long ones go on growing."""
        if self.filled != (context, batch) or context < 1024:
            self.do_fill(flash, context, batch)
        return {"seconds": self.gate.run(steps)}

    def do_logits(self, flash: bool, ids: list[int]) -> dict[str, Any]:
        """Logits after the last id."""
        self._stop()
        self.gate.open()
        logits = self.engine.logits(ids)[-1].tolist()
        self.gate.close()
        return {"logits": logits}

    def do_memory(self) -> dict[str, Any]:
        """Resident bytes of this process, and the most there were."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        resident, peak = (int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return {"bytes": resident, "peak": peak}

    def _stop(self) -> None:
        """Cancel what runs; it stands at the gate, so one more step is made."""
        for handle in self.running:
            self.engine.cancel(handle)
        if self.running:
            self.gate.open()
            self.gate._go.release()
            for handle in self.running:
                handle.result()
            self.gate.close()
            self.gate._is_waiting.clear()
        self.running, self.filled = [], None


def main() -> None:
    """Load, say so, then answer requests until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="q4")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    start = time.perf_counter()
    own = Own(args.folder, args.weights, args.threads)
    print(json.dumps({"load_s": time.perf_counter() - start}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(own, "do_" + request.pop("do"))(**request)), file=answers)
    os._exit(0)  # the engine's thread may stand at the gate, and closing the engine would wait for it


if __name__ == "__main__":
    main()
