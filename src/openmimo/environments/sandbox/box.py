"""The outside of the sandbox: starts the jail, sends it programs, and trusts nothing that comes back."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmimo.errors import SandboxError

__all__ = ["BACKENDS", "Outcome", "Sandbox"]

Backend = Literal["namespaces", "landlock"]
BACKENDS: tuple[Backend, ...] = ("namespaces", "landlock")
JAIL = Path(__file__).with_name("jail.py")
START_S = 20.0
GRACE_S = 5.0
MAX_SOURCE_CHARS = 20_000

_PROBE = """
import ctypes, os
libc = ctypes.CDLL(None)
def f(attempt):
    try:
        return "refused" if eval(attempt) == -1 else "allowed"
    except OSError:
        return "refused"
"""
_ATTEMPTS = (
    "open('/etc/passwd')",
    "open('/probe', 'w')",
    "os.listdir('/')",
    "os.fork()",
    "os.kill(1, 9)",
    "libc.socket(2, 1, 0)",
    "libc.unshare(0x10000000)",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        status: "done" (to its end, even if that is an exception), "timeout", "limit" (too much came back) or "crashed".
        values: for each argument the function's value, or None.
        errors: for each argument the name of the exception, or "".
        output: what the program printed.
        error: name of the exception that ended the program itself, or "".
    """

    status: Literal["done", "timeout", "limit", "crashed"]
    values: tuple[Any, ...] = ()
    errors: tuple[str, ...] = ()
    output: str = ""
    error: str = ""


class Sandbox:
    """Runs untrusted Python behind walls that the kernel holds. Any thread may call; programs run one at a time.

    Each program is a fork of a process that has no files, no network, no other processes to see and no capabilities,
    and is itself left a short list of system calls. Nothing that a judge compares with goes in.

    Args:
        backend: "namespaces", or "landlock" where the system forbids these; None takes the first that works.
        cpu_s: seconds of computing for a program.
        wall_s: seconds in all for a program.
    """

    def __init__(self, backend: Backend | None = None, cpu_s: int = 2, wall_s: float = 6.0):
        self._wanted: tuple[Backend, ...] = (backend,) if backend else BACKENDS
        self._cpu_s, self._wall_s = cpu_s, wall_s
        self._lock = threading.Lock()
        self._jail: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self.backend: Backend | None = None

    def run(self, source: str, function: str = "f", arguments: Sequence[Any] = ()) -> Outcome:
        """Run a program and call one of its functions with each argument.

        Args:
            source: the program.
            function: a name that it should define.
            arguments: plain values (what JSON knows); none only runs the program.
        Returns:
            what became of it. The values come from the program: compare them with what only the caller knows.
        Raises:
            SandboxError: this system cannot isolate a program, or the jail broke; nothing ran outside it.
        """
        if len(source) > MAX_SOURCE_CHARS or "\0" in source:
            return Outcome("limit")
        with self._lock:
            # A jail that a fork of this process inherited is the original's.
            if self._jail is None or self._owner != os.getpid() or self._jail.poll() is not None:
                self._start()
            return self._ask(source, function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is a sandbox with the same settings and a jail of its own."""
        return Sandbox, (self._wanted[0] if len(self._wanted) == 1 else None, self._cpu_s, self._wall_s)

    def close(self) -> None:
        """End the jail. The next program starts a new one."""
        with self._lock:
            if self._jail is not None:
                _end(self._jail, self._owner)
            self._jail = None

    def _start(self) -> None:
        reasons = []
        for backend in self._wanted:
            jail = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(JAIL), backend],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                close_fds=True,
                start_new_session=True,
            )
            self._jail, self._owner = jail, os.getpid()
            weakref.finalize(self, _end, jail, self._owner)
            try:
                answer = self._receive(time.monotonic() + START_S)
                if "ready" not in answer:
                    raise SandboxError(str(answer.get("refused", "no answer")))
                self._probe()
            except SandboxError as error:
                reasons.append(f"{backend}: {error}")
                _end(jail, self._owner)
                self._jail = None
                continue
            self.backend = backend
            return
        raise SandboxError(
            f"this system cannot isolate a program, so none was run ({'; '.join(reasons)}): "
            "allow unprivileged user namespaces, or use a kernel with Landlock and seccomp"
        )

    def _probe(self) -> None:
        outcome = self._ask(_PROBE, "f", _ATTEMPTS)
        if outcome.values != ("refused",) * len(_ATTEMPTS):
            raise SandboxError(f"a trial program was not held: {outcome.status} {outcome.error} {outcome.values}")

    def _ask(self, source: str, function: str, arguments: Sequence[Any]) -> Outcome:
        request = {
            "source": source,
            "function": function,
            "arguments": list(arguments),
            "nonce": secrets.token_hex(16),
            "cpu_s": self._cpu_s,
            "wall_s": self._wall_s,
        }
        text = json.dumps(request).encode()
        assert self._jail is not None
        assert self._jail.stdin is not None
        try:
            self._jail.stdin.write(struct.pack(">I", len(text)) + text)
            self._jail.stdin.flush()
        except OSError as error:
            raise SandboxError(f"the sandbox has ended ({error}): try again") from error
        return _outcome(self._receive(time.monotonic() + self._wall_s + GRACE_S), len(arguments))

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = struct.unpack(">I", self._read(4, deadline))
        text = self._read(size, deadline)
        try:
            return json.loads(text)
        except RecursionError:  # lists in lists, which the jail could just read and this thread cannot
            return {"status": "limit"}

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._jail is not None
        assert self._jail.stdout is not None
        text = b""
        while len(text) < size:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._jail.stdout], [], [], left)[0]
            piece = os.read(self._jail.stdout.fileno(), size - len(text)) if ready else b""
            if not piece:
                _end(self._jail, self._owner)
                raise SandboxError("the sandbox stopped answering and was ended: try again")
            text += piece
        return text


def _outcome(answer: dict[str, Any], num_arguments: int) -> Outcome:
    """The jail's answer with the parts that a program can shape checked."""
    results, output, error = answer.get("results"), answer.get("output", ""), answer.get("error", "")
    if answer["status"] != "done":
        return Outcome(answer["status"])
    if not (isinstance(results, list) and isinstance(output, str) and isinstance(error, str)):
        return Outcome("crashed")
    if not all(isinstance(result, dict) for result in results):
        return Outcome("crashed")
    missing = [{"error": error or "missing"}] * (num_arguments - len(results))
    told = [*results, *missing][:num_arguments]
    errors = tuple(str(result.get("error", "")) for result in told)
    return Outcome("done", tuple(result.get("value") for result in told), errors, output, error)


def _end(jail: subprocess.Popen[bytes], owner: int) -> None:
    if owner != os.getpid():
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(jail.pid, signal.SIGKILL)
    for pipe in (jail.stdin, jail.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    jail.wait()
