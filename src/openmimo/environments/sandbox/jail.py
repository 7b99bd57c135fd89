"""The inside of the sandbox: a process that locks itself in, then runs one untrusted program after another in forks.

Run as a script by `Sandbox` with its requests on standard input and its replies on standard output, each a length of
four bytes and JSON. It imports the standard library only, and all that programs may use, before the walls go up:
behind them there is no file to import from.
"""

import collections
import ctypes
import functools
import gc
import io
import itertools
import json
import math
import operator
import os
import platform
import re
import resource
import select
import signal
import statistics
import string
import struct
import sys
import time
from typing import Any

__all__ = ["main"]

PRELOADED = (collections, functools, itertools, math, operator, re, statistics, string, time)
MAX_RESULT_BYTES = 1 << 20
MAX_OUTPUT_CHARS = 1 << 16
MEMORY_BYTES = 256 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """A wall could not be put up."""


def _check(result: int, what: str) -> int:
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


# ---- walls of the server: namespaces and an empty root, or Landlock where these are not allowed

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE, MNT_DETACH = 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38


def enter_namespaces() -> None:
    """Leave users, mounts, processes, network and System V objects of the host; go on as process 1 of a new tree."""
    uid, gid = os.getuid(), os.getgid()
    spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    _check(_libc.unshare(spaces), "user namespaces")
    for name, text in (("setgroups", "deny"), ("uid_map", f"65534 {uid} 1"), ("gid_map", f"65534 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    child = os.fork()
    if child:
        os.closerange(0, 3)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent-death signal")


def empty_root() -> None:
    """Make a read-only folder without any file the root of the tree."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    _check(_libc.mount(b"none", b"/tmp", b"tmpfs", flags, b"size=4k,mode=555"), "an empty root")
    os.chdir("/tmp")
    _check(_libc.syscall(_NUMBERS["pivot_root"], b".", b"."), "change of root")
    _check(_libc.umount2(b".", MNT_DETACH), "detaching the old root")
    os.chdir("/")
    _check(_libc.mount(b"none", b"/", None, flags | MS_REMOUNT | MS_BIND | MS_RDONLY, None), "a read-only root")


def drop_capabilities() -> None:
    """Give up what the new user namespace granted, for good."""
    for number in range(64):
        _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    header, nothing = struct.pack("=II", 0x20080522, 0), bytes(24)
    _check(_libc.capset(header, nothing), "dropping capabilities")


def forbid_files() -> None:
    """Landlock with no rule at all: every file and, where the kernel can, every TCP port is forbidden.

    Source: Linux documentation, userspace-api/landlock.
    """
    create, restrict = 444, 446  # the same number on every architecture
    abi = _check(_libc.syscall(create, None, 0, 1), "Landlock")
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    rights = struct.pack("=QQQ", files, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _check(_libc.syscall(create, rights, len(rights), 0), "Landlock")
    _check(_libc.syscall(restrict, ruleset, 0), "Landlock")
    os.close(ruleset)


# ---- the wall of a program: a short list of system calls

_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
    "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28,
    "getpid": 39, "exit": 60, "gettimeofday": 96, "sigaltstack": 131, "gettid": 186, "futex": 202,
    "clock_gettime": 228, "clock_getres": 229, "exit_group": 231, "getrandom": 318, "pivot_root": 155,
}  # fmt: skip
_AARCH64 = {
    "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap": 215,
    "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "sched_yield": 124, "mremap": 216,
    "madvise": 233, "getpid": 172, "exit": 93, "gettimeofday": 169, "sigaltstack": 132, "gettid": 178, "futex": 98,
    "clock_gettime": 113, "clock_getres": 114, "exit_group": 94, "getrandom": 278, "pivot_root": 41,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
_AUDIT, _NUMBERS = _MACHINES.get(platform.machine(), (0, {}))

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # the last is "not permitted"
_X32_BIT, _PROT_EXEC = 0x40000000, 4


def _filter() -> bytes:
    """A program of seccomp: calls on the list are allowed, memory never becomes code, all else is not permitted.

    Source: Linux documentation, userspace-api/seccomp_filter; struct seccomp_data has the call's number at 0, the
    architecture at 4, argument i at 16 + 8 i.
    """

    def op(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    lines = [op(_LOAD, 4), op(_JUMP_EQUAL, _AUDIT, 1, 0), op(_RETURN, _KILL), op(_LOAD, 0)]
    lines += [op(_JUMP_SET, _X32_BIT, 0, 1), op(_RETURN, _KILL)]
    for name, number in _NUMBERS.items():
        if name in ("mmap", "mprotect"):
            lines += [op(_JUMP_EQUAL, number, 0, 4), op(_LOAD, 16 + 8 * 2), op(_JUMP_SET, _PROT_EXEC, 0, 1)]
            lines += [op(_RETURN, _REFUSE), op(_RETURN, _ALLOW)]
        elif name != "pivot_root":
            lines += [op(_JUMP_EQUAL, number, 0, 1), op(_RETURN, _ALLOW)]
    return b"".join([*lines, op(_RETURN, _REFUSE)])


def allow_few_calls() -> None:
    """Allow this process a handful of system calls: no file, socket, process, signal or mapping of code."""
    code = ctypes.create_string_buffer(_filter())
    program = struct.pack("=HxxxxxxQ", (len(code) - 1) // 8, ctypes.addressof(code))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def limit_resources(cpu_s: int) -> None:
    """Cap memory, time, files and processes."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))  # the first is a signal that says why
    for kind, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 8),
    ):
        resource.setrlimit(kind, (value, value))


# ---- one program


class _Output(io.StringIO):
    """Standard output of a program, up to a limit."""

    def write(self, text: str) -> int:
        if self.tell() + len(text) > MAX_OUTPUT_CHARS:
            raise OverflowError(f"more than {MAX_OUTPUT_CHARS} characters of output")
        return super().write(text)


def _plain(value: Any) -> Any:
    """A value of plain types made of plain types; what only looks like one is refused."""
    if type(value) in (type(None), bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _plain(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _execute(source: str, function: str, arguments: list[Any]) -> dict[str, Any]:
    """Run a program and call its function; what each call gave, or the name of the error."""
    dumps, plain, output = json.dumps, _plain, _Output()
    sys.stdout = sys.stderr = output
    names: dict[str, Any] = {"__name__": "program"}
    results: list[dict[str, Any]] = []
    try:
        exec(compile(source, "program", "exec"), names)
        for argument in arguments:
            try:
                value = plain(names[function](argument))
                dumps(value)
                results.append({"value": value})
            except Exception as error:
                results.append({"error": type(error).__name__})
    except BaseException as error:  # a program may also exit
        return {"error": type(error).__name__, "results": results, "output": output.getvalue()}
    return {"results": results, "output": output.getvalue()}


def _child(request: dict[str, Any], pipe: int) -> None:
    result = 7
    os.dup2(pipe, result)
    os.closerange(0, result)
    os.closerange(result + 1, 4096)
    limit_resources(request["cpu_s"])
    allow_few_calls()
    report = json.dumps(_execute(request["source"], request["function"], request["arguments"]))
    text = memoryview((request["nonce"] + report).encode())
    while text:
        text = text[os.write(result, text) :]
    os._exit(0)


def run_program(request: dict[str, Any]) -> dict[str, Any]:
    """Run one program in a fork, to its end or its limits.

    Args:
        request: source, function, arguments, nonce, cpu_s and wall_s.
    Returns:
        status ("done", "timeout", "limit" or "crashed") and, where it is "done", what the program left.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _child(request, writer)
        finally:
            os._exit(1)
    os.close(writer)
    status, text = _collect(reader, time.monotonic() + request["wall_s"])
    os.close(reader)
    os.kill(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    if os.WIFSIGNALED(code) and os.WTERMSIG(code) == signal.SIGXCPU:
        status = "timeout"
    if status != "done":
        return {"status": status}
    try:
        prefix, report = text[: len(request["nonce"])].decode(), json.loads(text[len(request["nonce"]) :])
    except (ValueError, RecursionError):
        return {"status": "crashed"}
    # A program can read the nonce off its caller's frames, so what comes after it may still be anything.
    is_told = prefix == request["nonce"] and isinstance(report, dict)
    return {**report, "status": "done"} if is_told else {"status": "crashed"}


def _collect(reader: int, deadline: float) -> tuple[str, bytes]:
    """Read until the program's end of the pipe is closed, too much has come, or time is up."""
    text = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return "timeout", text
        piece = os.read(reader, 1 << 16)
        if not piece:
            return "done", text
        text += piece
        if len(text) > MAX_RESULT_BYTES:
            return "limit", text


# ---- the server


def _send(message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    text = struct.pack(">I", len(text)) + text
    while text:
        text = text[os.write(1, text) :]


def _read(size: int) -> bytes:
    text = b""
    while len(text) < size:
        piece = os.read(0, size - len(text))
        if not piece:
            os._exit(0)  # nobody asks any more
        text += piece
    return text


def put_up_walls(backend: str) -> None:
    """Lock this process in.

    Args:
        backend: "namespaces" or "landlock".
    Raises:
        Refused: the kernel does not allow it.
    """
    if not _NUMBERS:
        raise Refused(f"the list of system calls is not known for {platform.machine()}")
    if backend == "namespaces":
        enter_namespaces()
        empty_root()
        drop_capabilities()
        _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    else:
        _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        forbid_files()


def main(backend: str) -> None:
    """Lock in, say so, then serve requests until standard input ends.

    Args:
        backend: as `put_up_walls`.
    """
    try:
        put_up_walls(backend)
    except (Refused, OSError, AttributeError) as error:  # the last where the C library has no such call
        _send({"refused": str(error)})
        return
    gc.freeze()
    _send({"ready": backend})
    while True:
        (size,) = struct.unpack(">I", _read(4))
        _send(run_program(json.loads(_read(size))))


if __name__ == "__main__":
    main(sys.argv[1])
