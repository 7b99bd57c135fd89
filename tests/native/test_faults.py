"""The native engine when memory runs out and when it is closed in the middle of things."""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from odd_models import V2, layers, write_checkpoint

import openmimo
from openmimo.errors import OpenMiMoError

GREEDY = openmimo.SamplingParams(temperature=0, max_new_tokens=400, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "model"
    write_checkpoint(folder, V2 | layers([1, 1, 1]) | {"max_position_embeddings": 2**20}, seed=0)
    return folder


def run_with_little_memory(folder: Path, code: str) -> str:
    """Runs code in a process whose address space can grow by `room` bytes once `limit(room)` was called.

    Blocks above 64 KiB are mapped one by one, so that the limit is felt.
    """
    prelude = """
        import resource, sys
        import openmimo
        def limit(room):
            pages = int(open("/proc/self/statm").read().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, resource.RLIM_INFINITY))
        folder = sys.argv[1]
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code), str(folder)],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(os.environ, MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_="65536"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_that_does_not_fit_is_refused_in_one_line(folder):
    out = run_with_little_memory(
        folder,
        """
        openmimo.load(folder, weights="f32", threads=1, num_slots=2).close()
        limit(32 * 2**20)
        for num_slots in (1024, 2):
            try:
                openmimo.load(folder, weights="f32", threads=1, num_slots=num_slots).close()
                print("loaded")
            except openmimo.CapacityError as error:
                print(error)
        """,
    )
    first, second = out.splitlines()
    assert "more memory than this process can get: use smaller weights, fewer slots or a smaller cache" in first
    assert second == "loaded"


def test_a_prompt_that_memory_does_not_hold_fails_and_the_next_one_is_right(folder):
    out = run_with_little_memory(
        folder,
        """
        from openmimo.checkpoint import Checkpoint
        from openmimo.engine import Engine
        from openmimo.native import NativeBackend

        backend = NativeBackend(Checkpoint.open(folder), "f32", threads=2, num_slots=2, num_pages=2000)
        engine = Engine(backend, prefill_rows=100_000)
        few = openmimo.SamplingParams(temperature=0, max_new_tokens=4, ignore_eos=True)
        want = engine.generate([1, 2, 3], few).token_ids
        for room in range(2, 122, 20):
            limit(room * 2**20)
            try:
                engine.generate([5] * 12_000, few)
                print("generated")
            except (openmimo.OpenMiMoError, MemoryError) as error:
                print(error or "MemoryError")
            assert engine.generate([1, 2, 3], few).token_ids == want
        """,
    )
    # With growing room the failure moves from Python into one allocation of the engine after another.
    outcomes = out.splitlines()
    assert outcomes[-1] == "generated"
    assert sum("MemoryError" in each for each in outcomes) >= 2


@pytest.mark.parametrize("mtp", ["off", 2])
def test_closing_an_engine_ends_its_streams_and_leaves_no_thread(folder, mtp):
    before = threading.active_count()
    engine = openmimo.load(folder, weights="f32", threads=2, cache_bytes=2**24, mtp=mtp)
    streams = [engine.stream([seed, 2, 3], GREEDY) for seed in range(3)]
    assert [len(next(stream).token_ids) > 0 for stream in streams] == [True] * 3
    engine.close()
    for stream in streams:
        deltas = list(stream)
        assert deltas[-1].finish_reason == "cancelled"
        assert sum(len(delta.token_ids) for delta in deltas) < 400
    assert threading.active_count() == before
    with pytest.raises(OpenMiMoError, match="closed"):
        engine.generate([1], GREEDY)


def test_closing_from_another_thread_wakes_a_reader(folder):
    engine = openmimo.load(folder, weights="f32", threads=1, cache_bytes=2**24)
    stream = engine.stream([1, 2, 3], GREEDY)
    next(stream)
    closer = threading.Thread(target=engine.close)
    closer.start()
    assert list(stream)[-1].finish_reason in ("cancelled", "length")
    closer.join(10)
    assert not closer.is_alive()
