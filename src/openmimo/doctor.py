"""What this machine has, and what works on it (`openmimo doctor`)."""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openmimo import _native
from openmimo.bench import available_memory, machine, measure_limits, noise
from openmimo.checkpoint import Checkpoint
from openmimo.costs import kv_bytes, weight_bytes
from openmimo.engine import SamplingParams
from openmimo.errors import OpenMiMoError
from openmimo.loading import available_cores, load

__all__ = ["Finding", "as_data", "diagnose", "format_findings"]

PACKAGES = ("numpy", "ml_dtypes", "tokenizers", "jinja2", "fastapi", "uvicorn", "rich", "pydantic")
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "portable")
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
WEIGHTS = ("f32", "bf16", "q8", "q4")
ROOM_BYTES = 2**30
"""Free disk and memory below which the small default model already becomes a tight fit."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        text: what was found.
        is_wrong: something does not work.
        advice: what to do about it, or what it means; may be empty.
    """

    name: str
    text: str
    is_wrong: bool = False
    advice: str = ""


def diagnose(folder: str | Path | None = None) -> list[Finding]:
    """Look at the machine, run the default model, and see how a checkpoint folder fits.

    Args:
        folder: checkpoint folder to look at besides, or None.
    Returns: what was found; anything with `is_wrong` needs attention.
    """
    looks: list[Callable[[], Iterator[Finding]]] = [_versions, _processor, _memory, _limits, _default_model]
    if folder is not None:
        looks.append(lambda: _folder(Path(folder)))
    return [finding for look in looks for finding in look()]


def format_findings(findings: list[Finding]) -> str:
    """Lay findings out for a terminal.

    Args:
        findings: what `diagnose` gives.
    Returns: lines, ending without a newline.
    """
    lines = []
    for finding in findings:
        lines.append(f"{'WRONG' if finding.is_wrong else 'ok':7s}{finding.name:18s}{finding.text}")
        if finding.advice:
            lines.append(f"{'':25s}-> {finding.advice}")
    wrong = sum(finding.is_wrong for finding in findings)
    return "\n".join([*lines, f"{wrong} of {len(findings)} need attention" if wrong else "everything works"])


def as_data(findings: list[Finding]) -> dict[str, Any]:
    """Findings as JSON-ready data.

    Args:
        findings: what `diagnose` gives.
    Returns: `ok` and the `findings`.
    """
    return {"ok": not any(finding.is_wrong for finding in findings), "findings": [asdict(item) for item in findings]}


def _versions() -> Iterator[Finding]:
    yield Finding("openmimo", f"{_version('openmimo')} on Python {platform.python_version()} ({sys.executable})")
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, version in found.items() if version == "missing"]
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Finding("packages", text, bool(missing), f"pip install {' '.join(missing)}" if missing else "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "run from a source tree" if package == "openmimo" else "missing"


def _processor() -> Iterator[Finding]:
    yield Finding("processor", machine())
    used = next(name for name in INSTRUCTION_SETS if _native._testing.has_instruction_set(name))
    flags = _cpu_flags()
    known = ", ".join(flag for flag in CPU_FLAGS if flag in flags) or "no vector extensions that it names"
    advice = "no fast kernels for this processor: expect a small fraction of its speed" if used == "portable" else ""
    yield Finding("instructions", f"{used} in use; the processor has {known}", advice=advice)
    cores = available_cores()
    yield Finding("cores", f"{cores} may be used, and as many threads are the default")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}


def _memory() -> Iterator[Finding]:
    free = available_memory()
    is_low = free < ROOM_BYTES
    advice = "close other programs: the default model alone wants about 300 MB" if is_low else ""
    yield Finding("memory", f"{free / 1e9:.1f} GB free", is_low, advice)
    try:
        choice = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
        choice = choice[choice.index("[") + 1 : choice.index("]")]
    except (OSError, ValueError):
        choice = "unknown"
    advice = "" if choice in ("always", "madvise") else "with madvise, large models decode up to a sixth faster"
    yield Finding("huge pages", choice, advice=advice)
    disk = shutil.disk_usage(Path.cwd()).free
    advice = "quantize needs room for its new folder" if disk < ROOM_BYTES else ""
    yield Finding("disk", f"{disk / 1e9:.1f} GB free here", disk < ROOM_BYTES, advice)


def _limits() -> Iterator[Finding]:
    threads = available_cores()
    limits = measure_limits(threads)
    peak = limits["int8_operations_per_s"]
    yield Finding("memory bandwidth", f"{limits['bytes_per_s'] / 1e9:.1f} GB/s, measured with {threads} threads")
    yield Finding(
        "int8 peak", f"{peak / 1e12:.2f} Top/s, measured" if peak else "this processor has no int8 dot product"
    )


def _default_model() -> Iterator[Finding]:
    try:
        with load() as engine:
            params = SamplingParams(temperature=0.0, max_new_tokens=8, ignore_eos=True)
            completion = engine.generate(noise(16, engine.config.vocab_size), params)
        yield Finding("default model", f"loads and generates ({len(completion.token_ids)} tokens)")
    except (OpenMiMoError, OSError) as error:
        yield Finding("default model", str(error), True, "install the package again: its own model must work")


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        checkpoint = Checkpoint.open(folder)
    except OpenMiMoError as error:
        yield Finding("folder", str(error), True, "the other commands refuse it for the same reason")
        return
    config, free = checkpoint.config, available_memory()
    context = config.max_position_embeddings
    yield Finding("folder", f"{folder} opens: {config.num_layers} layers, {config.num_mtp_layers} MTP heads")
    fitting = []
    for kind in WEIGHTS:
        weights = weight_bytes(config, kind)
        cache = kv_bytes(config, context, "f32" if kind == "f32" else "bf16")
        fits = weights + cache <= free
        fitting += [kind] if fits else []
        verdict = (
            "fits" if fits else f"fits with a shorter context than {context:,}" if weights <= free else "too large"
        )
        yield Finding(f"as {kind}", f"{weights / 1e9:.2f} GB + {cache / 1e9:.2f} GB of cache at {context:,}: {verdict}")
    if not fitting:
        yield Finding("room", f"no weight format fits into {free / 1e9:.1f} GB", True, "a machine with more memory")
    elif "f32" not in fitting:
        best = fitting[0]
        yield Finding("advice", f"--weights {best} is the most exact that fits; q4 decodes fastest")
