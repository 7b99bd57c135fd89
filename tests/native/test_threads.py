"""The pool of workers: every chunk of every job runs exactly once, whatever the number of threads and cores."""

import pytest

from openmimo import _native

run_jobs = _native._testing.run_jobs


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("chunks", [1, 2, 3, 7, 64])
def test_each_chunk_of_many_tiny_jobs_runs_once(threads, chunks):
    assert run_jobs(threads, jobs=500, chunks=chunks) == [500] * chunks


@pytest.mark.parametrize("threads", [2, 4])
def test_workers_that_fell_asleep_between_jobs_do_not_hold_up_the_next(threads):
    assert run_jobs(threads, jobs=100, chunks=5, pause_us=300) == [100] * 5


def test_a_pool_without_jobs_ends():
    for threads in (1, 2, 4, 16):
        assert run_jobs(threads, jobs=0, chunks=3) == [0, 0, 0]


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("failing", [0, 39])
def test_an_exception_of_a_chunk_reaches_the_caller(threads, failing):
    with pytest.raises(ValueError, match="this chunk fails"):
        run_jobs(threads, jobs=10, chunks=40, failing_chunk=failing)
