"""Safetensors files: a strict memory-mapped reader and a writer that knows bf16 and fp8.

The header is checked completely before any tensor is given out, so a damaged or hostile file is refused with a reason
and never read outside its bounds.
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import ml_dtypes
import numpy as np

from openmimo.errors import CheckpointError

__all__ = ["DTYPES", "TensorFile", "write_tensors"]

DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies in the data part of a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


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
            self._bytes = np.memmap(path, dtype=np.uint8, mode="r")
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


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file and force it to disk.

    Args:
        path: the file, replaced if it exists.
        tensors: by name, each of a dtype in `DTYPES`.
    Raises:
        CheckpointError: a dtype cannot be stored.
        OSError: the disk is full or not writable.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise CheckpointError(f"{name} has dtype {tensor.dtype}: use one of {', '.join(map(str, NAMES))}")
    # Widest items first keeps every tensor aligned, since the header is padded to 8 bytes.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            _write_array(file, tensor)
        file.flush()
        os.fsync(file.fileno())


def _write_array(file: BinaryIO, tensor: np.ndarray) -> None:
    file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)


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
