"""One peer engine (llama.cpp or ik_llama.cpp) in a process of its own, told over a pipe what to time.

Runs in the peers' interpreter. It calls the low-level C API, as `llama-bench` does: a step is one `llama_decode`, and
no sampling is timed. Between requests it blocks on its standard input. Every request and answer is one line of JSON:

    {"do": "prefill", "flash": true, "tokens": 512}                              -> {"seconds": 0.1}
    {"do": "fill", "flash": true, "context": 4096, "batch": 1}                   -> {}
    {"do": "decode", "flash": true, "context": 4096, "batch": 1, "steps": 32}    -> {"seconds": 0.3}
    {"do": "logits", "flash": true, "ids": [5, 7]}                               -> {"logits": [...]}, of the last id
    {"do": "memory"}                                                             -> {"bytes": 1234}
"""

import argparse
import ctypes
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

UBATCH = 512
BATCH = 2048
SPARE = 1024
"""Positions beyond the context, for the tokens that are decoded there."""


def noise(count: int, vocab_size: int) -> list[int]:
    """A prompt without meaning; the same as `openmimo.bench.noise`, which this interpreter may not have."""
    return [(7919 * i + 13) % vocab_size for i in range(count)]


class LlamaCpp:
    """The C API of llama.cpp through the package llama-cpp-python."""

    module = "llama_cpp.llama_cpp"

    def __init__(self) -> None:
        self.api = importlib.import_module(self.module)
        self._quiet = self.api.llama_log_callback(lambda *_: None)
        self.api.llama_backend_init()

    def load(self, path: Path) -> Any:
        """The model in the file."""
        return self.api.llama_model_load_from_file(str(path).encode(), self.api.llama_model_default_params())

    def context(self, model: Any, positions: int, sequences: int, threads: int, flash: bool) -> Any:
        """Room for sequences that share `positions`."""
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = positions, sequences, True
        params.n_batch, params.n_ubatch = BATCH, UBATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = int(flash)
        return self.api.llama_init_from_model(model, params)

    def vocab_size(self, model: Any) -> int:
        """How many token ids there are."""
        return self.api.llama_vocab_n_tokens(self.api.llama_model_get_vocab(model))

    def forget(self, context: Any, sequence: int, position: int) -> None:
        """Drop a sequence from a position on; -1 is every sequence."""
        self.api.llama_memory_seq_rm(self.api.llama_get_memory(context), sequence, position, -1)

    def save(self, context: Any, path: Path) -> None:
        """Write sequence 0."""
        self.api.llama_state_seq_save_file(context, str(path).encode(), 0, None, 0)

    def restore(self, context: Any, path: Path) -> bool:
        """Read sequence 0 back; whether it worked."""
        token, count = self.api.llama_token(), ctypes.c_size_t()
        return self.api.llama_state_seq_load_file(context, str(path).encode(), 0, token, 0, ctypes.byref(count)) > 0


class IkLlamaCpp(LlamaCpp):
    """The C API of ik_llama.cpp, an older one, through the package ik-llama-cpp-python."""

    module = "ik_llama_cpp._ctypes_api"

    def __init__(self) -> None:
        self.api = importlib.import_module(self.module)
        library = self.api._lib
        self._log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        library.llama_log_set(self._log, None)
        self._seq_rm = library.llama_kv_cache_seq_rm
        self._seq_rm.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
        self._save = library.llama_state_seq_save_file
        self._save.restype = ctypes.c_size_t
        size = ctypes.c_size_t
        self._save.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, size]
        self._load = library.llama_state_seq_load_file
        self._load.restype = size
        self._load.argtypes = [*self._save.argtypes[:3], ctypes.c_void_p, size, ctypes.c_void_p]
        self.api.llama_backend_init()

    def load(self, path: Path) -> Any:
        """The model, its matrices interleaved on load, which is faster (`-rtr 1`)."""
        params = self.api.llama_model_default_params()
        params.repack_tensors = True
        params.use_mmap = False
        return self.api.llama_model_load_from_file(str(path).encode(), params)

    def context(self, model: Any, positions: int, sequences: int, threads: int, flash: bool) -> Any:
        """As in llama.cpp; fused experts are on by default."""
        params = self.api.llama_context_default_params()
        params.n_ctx, params.n_seq_max = positions, sequences
        params.n_batch, params.n_ubatch = BATCH, UBATCH
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn = flash
        return self.api.llama_init_from_model(model, params)

    def forget(self, context: Any, sequence: int, position: int) -> None:
        """As in llama.cpp."""
        self._seq_rm(context, sequence, position, -1)

    def save(self, context: Any, path: Path) -> None:
        """As in llama.cpp."""
        self._save(context, str(path).encode(), 0, None, 0)

    def restore(self, context: Any, path: Path) -> bool:
        """As in llama.cpp."""
        count = ctypes.c_size_t()
        return self._load(context, str(path).encode(), 0, None, 0, ctypes.byref(count)) > 0


class Peer:
    """Answers the requests of this module's docstring for one GGUF file."""

    def __init__(self, adapter: LlamaCpp, path: Path, threads: int, max_context: int):
        self.adapter, self.api, self.path, self.threads = adapter, adapter.api, path, threads
        self.max_context = max_context
        self.model = adapter.load(path)
        if not self.model:
            raise SystemExit(f"{path} does not load")
        self.vocab_size = adapter.vocab_size(self.model)
        self.batch = self.api.llama_batch_init(BATCH, 0, 1)
        self.contexts: dict[tuple[bool, int], Any] = {}
        self.filled: dict[tuple[bool, int], int] = {}

    def context(self, flash: bool, batch: int) -> Any:
        """One context for single sequences and one for each batch size: a peer's window cache grows with the latter."""
        key = flash, batch
        if key not in self.contexts:
            positions = self.max_context + SPARE if batch == 1 else batch * (SPARE // 2)
            self.contexts[key] = self.adapter.context(self.model, positions, batch, self.threads, flash)
            if not self.contexts[key]:
                raise SystemExit(f"no context of {positions} positions for {batch} sequences")
        return self.contexts[key]

    def do_prefill(self, flash: bool, tokens: int) -> dict[str, Any]:
        """Seconds for one prompt."""
        context = self.context(flash, 1)
        self.filled.pop((flash, 1), None)
        self.adapter.forget(context, -1, 0)
        start = time.perf_counter()
        self._run(context, 0, 0, noise(tokens, self.vocab_size))
        self.api.llama_get_logits_ith(context, -1)
        return {"seconds": time.perf_counter() - start}

    def do_fill(self, flash: bool, context: int, batch: int) -> dict[str, Any]:
        """Bring every sequence to a context. A long one is kept in a file, for it takes minutes to compute."""
        handle = self.context(flash, batch)
        self.adapter.forget(handle, -1, 0)
        state = self.path.with_name(f"{self.path.stem}-{type(self.adapter).__name__}-{int(flash)}-{context}.state")
        is_long = batch == 1 and context >= 1024
        if not (is_long and state.is_file() and self.adapter.restore(handle, state)):
            for sequence in range(batch):
                self._run(handle, sequence, 0, noise(context, self.vocab_size))
            if is_long:
                self.adapter.save(handle, state)
        self.filled[flash, batch] = context
        return {}

    def do_decode(self, flash: bool, context: int, batch: int, steps: int) -> dict[str, Any]:
        """Seconds for `steps` tokens of every sequence behind a context."""
        handle = self.context(flash, batch)
        if self.filled.get((flash, batch)) != context:
            self.do_fill(flash, context, batch)
        for sequence in range(batch):
            self.adapter.forget(handle, sequence, context)
        tokens = noise(steps, self.vocab_size)
        item = self.batch
        item.n_tokens = batch
        for row in range(batch):
            item.n_seq_id[row], item.seq_id[row][0], item.logits[row] = 1, row, 1
        start = time.perf_counter()
        for step, token in enumerate(tokens):
            for row in range(batch):
                item.token[row], item.pos[row] = token, context + step
            if self.api.llama_decode(handle, item):
                raise SystemExit(f"llama_decode failed at step {step}")
            self.api.llama_get_logits_ith(handle, batch - 1)
        return {"seconds": time.perf_counter() - start}

    def do_logits(self, flash: bool, ids: list[int]) -> dict[str, Any]:
        """Logits after the last id."""
        context = self.context(flash, 1)
        self.filled.pop((flash, 1), None)
        self.adapter.forget(context, -1, 0)
        self._run(context, 0, 0, ids)
        return {"logits": self.api.llama_get_logits_ith(context, -1)[: self.vocab_size]}

    def do_memory(self) -> dict[str, Any]:
        """Resident bytes of this process, and the most there were."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        resident, peak = (int(status[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
        return {"bytes": resident, "peak": peak}

    def _run(self, context: Any, sequence: int, first: int, tokens: list[int]) -> None:
        """Decode tokens of one sequence in full batches; only the last one's logits are wanted."""
        item = self.batch
        for begin in range(0, len(tokens), BATCH):
            part = tokens[begin : begin + BATCH]
            item.n_tokens = len(part)
            for row, token in enumerate(part):
                item.token[row], item.pos[row] = token, first + begin + row
                item.n_seq_id[row], item.seq_id[row][0] = 1, sequence
                item.logits[row] = begin + row == len(tokens) - 1
            if self.api.llama_decode(context, item):
                raise SystemExit(f"llama_decode failed at token {begin}")


def main() -> None:
    """Load, say so, then answer requests until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("llama.cpp", "ik_llama.cpp"))
    parser.add_argument("path", type=Path, help="GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-context", type=int, default=16384)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the libraries print to standard output must not mix with the answers
    start = time.perf_counter()
    adapter = LlamaCpp() if args.engine == "llama.cpp" else IkLlamaCpp()
    peer = Peer(adapter, args.path, args.threads, args.max_context)
    print(json.dumps({"load_s": time.perf_counter() - start}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(peer, "do_" + request.pop("do"))(**request)), file=answers)


if __name__ == "__main__":
    main()
