"""Safetensors files: a strict memory-mapped reader, and a writer that takes tensors one at a time.

The header is checked completely before any tensor is given out, so a damaged or hostile file is refused with a reason
and never read outside its bounds.
"""

import json
import math
import mmap
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np

from openmimo.errors import CheckpointError

__all__ = ["DTYPES", "Entry", "Spec", "TensorFile", "TensorWriter", "write_tensors"]

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Spec:
    """What a tensor will be: enough to lay out a file before the tensor exists."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in the data part of a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype_name(self) -> str:
        """The dtype as the format calls it, such as BF16."""
        return NAMES[self.dtype]

    @property
    def num_bytes(self) -> int:
        """Bytes of data."""
        return self.end - self.begin


class TensorFile:
    """A memory-mapped safetensors file.

    Args:
        path: the file.
    Attributes:
        entries: by tensor name.
    Raises:
        CheckpointError: the file is missing, cut short or malformed; the message names it and says why.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._bytes = np.frombuffer(self._map, np.uint8)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}; copy it again") from error
        try:
            self._data_start, header = _read_header(self._bytes)
            self.entries = _check_entries(header, len(self._bytes) - self._data_start)
        except ValueError as error:
            raise CheckpointError(f"{path} is not a complete safetensors file: {error}; copy it again") from error

    def array(self, name: str) -> np.ndarray:
        """Give one tensor.

        Args:
            name: a key of `entries`.
        Returns: a read-only view of the file, in the stored dtype and shape (a copy if the file misaligns it).
        """
        entry = self.entries[name]
        offset = self._data_start + entry.begin
        view = np.ndarray(entry.shape, entry.dtype, buffer=self._bytes, offset=offset)
        return view if view.flags.aligned else view.copy()

    def release(self) -> None:
        """Give back all memory that reading has mapped, neighbours that the system read ahead included.

        What is needed again is read again from the file.
        """
        self._map.madvise(mmap.MADV_DONTNEED)


class TensorWriter:
    """Writes a safetensors file tensor by tensor, in any order, holding none of them.

    Leaving a `with` block without an error checks that every tensor came, and forces the file to disk.

    Args:
        path: the file, replaced if it exists.
        specs: the file's tensors by name, each of a dtype in `DTYPES`.
    Raises:
        CheckpointError: a dtype cannot be stored.
        OSError: the disk is full or not writable.
    """

    def __init__(self, path: Path, specs: Mapping[str, Spec]):
        for name, spec in specs.items():
            if spec.dtype not in NAMES:
                raise CheckpointError(f"{name} has dtype {spec.dtype}: use one of {', '.join(map(str, NAMES))}")
        self._specs = dict(specs)
        self._offsets: dict[str, int] = {}
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        # Widest items first keeps every tensor aligned, since the header is padded to 8 bytes.
        for name, spec in sorted(specs.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
            begin, end = end, end + spec.num_bytes
            header[name] = {"dtype": NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": [begin, end]}
            self._offsets[name] = begin
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._data_start = 8 + len(text)
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._file.write(len(text).to_bytes(8, "little") + text)

    def put(self, name: str, tensor: np.ndarray) -> None:
        """Write one tensor.

        Args:
            name: a name of `specs`, once.
            tensor: as its spec says.
        """
        offset = self._offsets.pop(name)
        assert Spec(tensor.dtype, tensor.shape) == self._specs[name], f"{name} is not what was announced"
        self._file.seek(self._data_start + offset)
        self._file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)

    def __enter__(self) -> "TensorWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                assert not self._offsets, f"never written: {sorted(self._offsets)}"
                self._file.flush()
                os.fsync(self._file.fileno())


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file and force it to disk.

    Args:
        path: the file, replaced if it exists.
        tensors: by name, each of a dtype in `DTYPES`.
    Raises:
        CheckpointError: a dtype cannot be stored.
        OSError: the disk is full or not writable.
    """
    with TensorWriter(path, {name: Spec(tensor.dtype, tensor.shape) for name, tensor in tensors.items()}) as writer:
        for name, tensor in tensors.items():
            writer.put(name, tensor)


def _read_header(data: np.ndarray) -> tuple[int, dict[str, Any]]:
    if len(data) < 8:
        raise ValueError(f"it has {len(data)} bytes, fewer than the 8 that hold the header length")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError(f"its header claims {length} bytes and the file has {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length].tobytes().decode("utf-8"), object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict) or data[8] != ord("{"):
        raise ValueError("its header is not a JSON object")
    return 8 + length, header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"{Counter(name for name, _ in pairs).most_common(1)[0][0]!r} stands twice in its header")
    return result


def _check_entries(header: dict[str, Any], data_bytes: int) -> dict[str, Entry]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ must map names to text")
    entries = {name: _check_entry(name, item) for name, item in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise ValueError(f"{name} begins at byte {entry.begin} of the data where byte {end} is next")
        end = entry.end
    if end != data_bytes:
        raise ValueError(f"its tensors need {end} bytes of data and it has {data_bytes}")
    return entries


def _check_entry(name: str, item: Any) -> Entry:
    if not isinstance(item, dict):
        raise ValueError(f"{name} has no dtype, shape and data_offsets")
    dtype, shape, offsets = item.get("dtype"), item.get("shape"), item.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name} has dtype {dtype!r}, which is not one of {', '.join(DTYPES)}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name} has shape {shape!r} and data_offsets {offsets!r}")
    num_bytes = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != num_bytes:
        raise ValueError(f"{name} {dtype} {shape} needs {num_bytes} bytes and has data_offsets {offsets}")
    return Entry(DTYPES[dtype], tuple(shape), offsets[0], offsets[1])


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**60 for value in values)
