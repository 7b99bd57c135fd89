"""How training asks glibc to treat the memory that it frees; elsewhere nothing is done."""

import ctypes
import platform
import sys

__all__ = ["give_back_fragments", "keep_freed_memory"]

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # numbers of malloc.h
TRIM_EVERY = 10
"""Steps between two returns of free pages, each of which costs page faults in the next step."""


def keep_freed_memory() -> None:
    """Ask glibc to reuse freed memory instead of giving it back: every step allocates the same gigabytes anew.

    Without this, page faults cost a third of a step, and on virtual machines that hand freed pages back to their host
    up to nine tenths.
    """
    if _is_glibc():
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1), (M_TOP_PAD, 2**28)):
            libc.mallopt(option, value)


def give_back_fragments(step: int) -> None:
    """Give free pages back after all, now and then: rollouts differ in shape from step to step, and a heap that only
    grows came to 11 GB after 30 steps that need 3. Batches of few shapes do not need it and would pay for it.

    Args:
        step: number of the step; nothing is done where TRIM_EVERY does not divide it.
    """
    if step % TRIM_EVERY == 0 and _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
