"""The sandbox: what programs may do, what they may not, and that nothing but the right values is a pass."""

import contextlib
import os
import platform
import socket
import threading
import time

import pytest

from openmimo.environments.programs import ProgramsEnvironment
from openmimo.environments.sandbox import BACKENDS, Sandbox, box
from openmimo.errors import SandboxError


def started(sandbox: Sandbox) -> Sandbox:
    """The sandbox, running; skips the test where the machine has no isolation."""
    try:
        sandbox.run("")
    except SandboxError as error:
        pytest.skip(str(error))
    return sandbox


@pytest.fixture(scope="module", params=BACKENDS)
def sandbox(request: pytest.FixtureRequest):
    found = started(Sandbox(request.param, cpu_s=1, wall_s=4.0))
    yield found
    found.close()


def attempt(sandbox: Sandbox, body: str) -> str:
    """Name of the error that the body ends in, or what it returned."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    outcome = sandbox.run(f"import ctypes, os, sys\ndef f(x):\n{lines}", "f", [0])
    return outcome.errors[0] or repr(outcome.values[0]) if outcome.status == "done" else outcome.status


def test_values_errors_and_output_come_back(sandbox):
    outcome = sandbox.run("print('hello')\ndef f(x):\n    return [x, 10 // x]", "f", [2, 0, 5])
    assert outcome.values == ([2, 5], None, [5, 2])
    assert outcome.errors == ("", "ZeroDivisionError", "")
    assert outcome.output == "hello\n"
    assert sandbox.run("1 +").error == "SyntaxError"


# ---- X1: no isolation, no run


def test_nothing_runs_where_the_walls_cannot_stand(tmp_path, monkeypatch):
    marker, jail = tmp_path / "ran", tmp_path / "jail.py"
    source = box.JAIL.read_text(encoding="utf-8")
    walls = '    if backend == "namespaces":\n'
    jail.write_text(source.replace(walls, "    raise Refused('not allowed here')\n" + walls), encoding="utf-8")
    monkeypatch.setattr(box, "JAIL", jail)
    with pytest.raises(SandboxError, match="cannot isolate a program, so none was run"):
        Sandbox().run(f"open({str(marker)!r}, 'w')")
    assert not marker.exists()


def test_a_jail_that_holds_nothing_is_found_out(tmp_path, monkeypatch):
    jail = tmp_path / "jail.py"
    source = box.JAIL.read_text(encoding="utf-8")
    jail.write_text(
        source.replace("    allow_few_calls()\n", "").replace("        put_up_walls(backend)\n", "        pass\n"),
        encoding="utf-8",
    )
    monkeypatch.setattr(box, "JAIL", jail)
    with pytest.raises(SandboxError, match="a trial program was not held"):
        Sandbox().run("")


# ---- X2: network


def test_there_is_no_network(sandbox):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.settimeout(0.2)
        port = canary.getsockname()[1]
        for family, kind in ((2, 1), (2, 2), (2, 3), (1, 1), (16, 3)):
            assert attempt(sandbox, f"return ctypes.CDLL(None).socket({family}, {kind}, 0)") == "-1"
        attempt(sandbox, f"import socket\nsocket.create_connection(('127.0.0.1', {port}))")
        assert attempt(sandbox, "return ctypes.CDLL(None).syscall(425, 8, 0)") == "-1"  # io_uring
        with contextlib.suppress(TimeoutError):
            heard.append(canary.accept())
    assert not heard


# ---- X3, X8: files, other processes, secrets


@pytest.mark.parametrize(
    "body",
    [
        "return open('/etc/shadow').read()",
        "return open('/proc/self/environ').read()",
        "return open('/proc/1/mem').read()",
        "return open('/proc/self/mem', 'rb').read(1)",
        "return os.listdir(os.path.expanduser('~'))",
        "return os.listdir('/proc/self/fd')",
        "os.truncate(os.memfd_create('x'), 1 << 40)",
        "open('/tmp/x', 'w')",
        "open('x', 'w')",
        "os.symlink('/etc', 'x')",
        "os.link('/etc/passwd', 'x')",
        "os.rename('/tmp', '/x')",
        "return os.listdir('/')",
        "return os.stat('/').st_mode",
        "os.kill(1, 9)",
        "os.execv('/bin/sh', ['sh'])",
        "os.fork()",
        "os.setsid()",
        "os.dup(0)",
        "os.pipe()",
    ],
)
def test_files_and_processes_are_refused(sandbox, body):
    assert attempt(sandbox, body) in ("PermissionError", "OSError")


def test_raw_calls_are_refused(sandbox):
    for number in (16, 57, 58, 59, 101, 155, 165, 175, 246, 250, 272, 308, 310, 317, 321, 323, 435):
        call = f"return ctypes.CDLL(None).syscall({number}, 0, 0, 0, 0, 0)"
        assert attempt(sandbox, call) in ("-1", "crashed"), number


def test_there_are_no_secrets(sandbox, monkeypatch):
    monkeypatch.setenv("API_KEY", "secret")
    assert attempt(sandbox, "return [*os.environ]") in ("[]", "['LC_CTYPE']")  # the latter is Python's own
    descriptors = "return [fd for fd in range(4096) if ctypes.CDLL(None).lseek(fd, 0, 1) != -1 or fd == 7]"
    assert attempt(sandbox, descriptors) == "[7]"  # its own pipe, which lseek does not know


# ---- X4, X5: resources, orphans


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        ("while True: pass", {"timeout"}),
        ("return len(bytearray(100 << 30))", {"MemoryError"}),
        ("return [0] * 10**7", {"limit", "timeout", "MemoryError"}),
        ("while True: print('x' * 1000)", {"OverflowError"}),
        ("import time\ntime.sleep(60)", {"PermissionError"}),
        ("import threading\n[threading.Thread(target=print).start() for _ in range(1000)]", {"RuntimeError"}),
        ("def g(n): return g(n + 1)\nreturn g(0)", {"RecursionError"}),
        ("return ctypes.string_at(0)", {"crashed"}),
    ],
)
def test_what_takes_too_much_ends_soon(sandbox, body, ends):
    began = time.monotonic()
    found = attempt(sandbox, body)
    assert found in ends or (body.startswith("import threading") and found == "ModuleNotFoundError")
    assert time.monotonic() - began < 4.0 + 2.0  # the limit on all of it, and time to tell
    assert attempt(sandbox, "return x") == "0"


def test_a_program_that_waits_for_ever_is_ended():
    sandbox = started(Sandbox(wall_s=0.5))
    wait = "import ctypes\nword = ctypes.c_int()\nctypes.CDLL(None).syscall(NUMBER, ctypes.byref(word), 0, 0, 0, 0, 0)"
    futex = {"x86_64": "202", "aarch64": "98"}[platform.machine()]
    assert sandbox.run(wait.replace("NUMBER", futex)).status == "timeout"
    sandbox.close()


def ends_within(seconds: float, group: int) -> bool:
    """Whether a process group is gone soon: the kernel takes its time with a namespace on a busy machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_closing_leaves_no_process(sandbox):
    other = started(Sandbox(sandbox.backend))
    assert other._jail is not None
    group = other._jail.pid
    other.close()
    assert ends_within(5.0, group)
    assert other.run("def f(x): return x", "f", [3]).values == (3,)
    other.close()


def test_a_fork_of_the_caller_has_a_jail_of_its_own(sandbox):
    other = started(Sandbox(sandbox.backend))
    child = os.fork()
    if child == 0:
        is_right = other.run("def f(x): return x", "f", [5]).values == (5,)
        other.close()
        os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert other.run("def f(x): return x", "f", [6]).values == (6,)
    other.close()


# ---- X6: only right values pass


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "raise SystemExit(0)",
        "print('PASS')\nprint('{\"results\": [{\"value\": 1}]}')",
        'import os\n[os.write(n, b\'{"results": [{"value": 3}]}\') for n in (1, 2, 7) if n == 7]\nos._exit(0)',
        "import json\njson.dumps = lambda *a, **k: '{}'",
        "class Same(int):\n    __eq__ = lambda *a: True\n    __hash__ = None\ndef f(x):\n    return Same()",
        "def f(x):\n    return type('All', (), {'__eq__': lambda *a: True})()",
        "import builtins\nbuiltins.len = lambda *a: 0\nbuiltins.sum = lambda *a: 0\ndef f(x):\n    return 0",
        "import atexit\natexit.register(print, 'PASS')",
        "import sys\ndef f(x):\n    return sys._getframe().f_back.f_locals.get('expected')",
        "def f(x):\n    raise KeyboardInterrupt",
        "def f(x):\n    try:\n        return undefined\n    except BaseException:\n        return None",
        "import unittest.mock",
        "import _pytest",
    ],
)
def test_tricks_score_nothing(sandbox, source):
    environment = ProgramsEnvironment(is_soft=True, sandbox=sandbox)
    task = next(task for task in environment.tasks("train", 1, 200) if task.kind == "write-3")
    source = source if "def f(" in source else source + "\ndef f(x): pass"
    assert environment.score(task, source) == 0.0
    assert environment.score(task, task.answer) == 1.0


STOLEN = """
import os, sys
frame = sys._getframe()
while "request" not in frame.f_locals:
    frame = frame.f_back
os.write(7, (frame.f_locals["request"]["nonce"] + REPORT).encode())
os._exit(0)
def f(x): pass
"""
"""Reads the nonce off the frames of its caller, and reports what it likes in its place."""


def deep(levels: int, call):
    """Calls with so many frames below."""
    return call() if levels == 0 else deep(levels - 1, call)


@pytest.mark.parametrize(
    "report",
    [
        "[1]",
        "3",
        "nonsense",
        '{"status": "passed", "results": []}',
        '{"results": [3]}',
        '{"results": {"value": 1}}',
        '{"results": [], "output": 3}',
        '{"results": [{"value": ' + "[" * 900 + "]" * 900 + "}]}",
        "[" * 2000,
    ],
)
def test_a_forged_report_scores_nothing_and_ends_nothing_but_its_program(sandbox, report):
    environment = ProgramsEnvironment(is_soft=True, sandbox=sandbox)
    task = next(task for task in environment.tasks("train", 1, 200) if task.kind == "write-3")
    source = STOLEN.replace("REPORT", repr(report))
    jail = sandbox._jail
    outcome = deep(200, lambda: sandbox.run(source, "f", [argument for argument, _ in task.tests]))
    assert outcome.status in ("done", "limit", "crashed")
    assert environment.score(task, source) == 0.0
    assert environment.score(task, task.answer) == 1.0
    assert sandbox._jail is jail


def test_a_program_that_cannot_be_told_to_stop_is_ended(sandbox):
    """It ignores every signal that may be, its limit's included, or closes the pipe that its end is read from."""
    ignore = (
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, 1)\n    except (OSError, ValueError): pass\n"
    )
    for source in (ignore + "while True: pass", "import os\nos.close(7)\nwhile True: pass"):
        began = time.monotonic()
        assert sandbox.run(source).status in ("crashed", "timeout")
        assert time.monotonic() - began < 4.0 + 2.0
    assert attempt(sandbox, "return x") == "0"


def test_tests_that_are_not_shown_count(sandbox):
    task = next(task for task in ProgramsEnvironment().tasks("train", 1, 200) if task.kind == "write-1")
    (first, value), (_, other) = task.tests[:2]
    by_heart = f"{value!r} if x == {first!r} else {other!r}"
    assert ProgramsEnvironment(sandbox=sandbox).score(task, by_heart) == 0.0
    assert 0.25 <= ProgramsEnvironment(is_soft=True, sandbox=sandbox).score(task, by_heart) < 1.0


# ---- speed, and that runs do not meet


def test_a_program_costs_less_than_50_ms(sandbox):
    seconds = []
    for _ in range(30):
        began = time.monotonic()
        sandbox.run("def f(x): return x", "f", [1])
        seconds.append(time.monotonic() - began)
    assert min(seconds) < 0.05  # the least, since other work may run beside this


def test_many_threads_get_their_own_answers(sandbox):
    answers: dict[int, int] = {}

    def ask(number: int) -> None:
        (answers[number],) = sandbox.run(f"kept = {number}\ndef f(x): return kept + x", "f", [1]).values

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number + 1 for number in range(40)}
    assert attempt(sandbox, "return 'kept' in globals()") == "False"
