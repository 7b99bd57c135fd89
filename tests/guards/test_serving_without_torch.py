"""Serving works where torch is not installed: in a process in which importing it raises."""

import subprocess
import sys
from pathlib import Path

ORACLE = Path(__file__).parents[1] / "oracles" / "mimo_v2_flash_tiny"

REFUSE = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "triton", "safetensors"):
            raise ImportError(f"{name} is not for serving")
sys.meta_path.insert(0, Refuse())
"""

BUILD_APP = """
from types import SimpleNamespace
import openmimo, openmimo.agent, openmimo.bench, openmimo.evals, openmimo.quantize, openmimo.show, openmimo.terminal
from openmimo.environments.home import LiveHome
from openmimo.server import create_app
[getattr(openmimo, name) for name in openmimo.__all__]
engine = SimpleNamespace(chat=object(), tokenizer=object())
print(sorted({route.path for route in create_app(engine, [LiveHome()]).routes}))
"""

RUN_PROGRAM = """
from openmimo.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(program: str, *words: str) -> str:
    command = [sys.executable, "-c", REFUSE + program, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_app_is_built_and_every_public_name_found():
    assert "/v1/chat/completions" in run(BUILD_APP)


def test_the_program_shows_its_help():
    assert "serve" in run(RUN_PROGRAM, "--help")


def test_the_program_generates():
    # input and greedy continuation of the oracle's own seq are pinned in tests/native; here it only has to run
    words = ("generate", str(ORACLE), "--ids", "1,2,3", "--max-new-tokens", "4", "--threads", "1")
    assert len(run(RUN_PROGRAM, *words).split()) <= 4
