"""Checkpoint folders: memory-mapped reading by published names, atomic writing one tensor at a time.

A folder holds config.json, *.safetensors (with model.safetensors.index.json if there are several) and, for text,
tokenizer.json and tokenizer_config.json.
"""

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from openmimo.config import ModelConfig, TrunkState, WindowReading, read_config
from openmimo.errors import CheckpointError
from openmimo.formats import Quantized, count_nonfinite, to_float32
from openmimo.names import LAYER_NAME, MTP_NAME, tensor_shapes
from openmimo.storage import Packed, Part, Plain, Storage, find_storage
from openmimo.tensorfile import Spec, TensorFile, TensorWriter

__all__ = ["Checkpoint", "CheckpointWriter", "default_model_path", "has_weights", "make_durable", "save_checkpoint"]

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 4 * 10**9
FLOAT32 = np.dtype(np.float32)


def default_model_path() -> Path:
    """Find the model that comes with the package.

    Returns: its checkpoint folder.
    """
    return Path(__file__).parent / "weights" / "default"


class Checkpoint:
    """A folder whose tensors were all found and have the shapes that its config asks for; use `Checkpoint.open`.

    Attributes:
        folder: where it lies.
        config: the model's shape, with as many MTP blocks as the folder holds.
        names: the tensors as they are stored.
    """

    def __init__(self, folder: Path, config: ModelConfig, files: Mapping[str, TensorFile]):
        self.folder = folder
        self.config = config
        self._files = files
        self.names = tuple(sorted(files))
        self._shapes = tensor_shapes(config)
        entries = {name: file.entries[name] for name, file in files.items()}
        self._storages = {
            name: find_storage(self._stored_name(name), self._shapes, config, entries) for name in self._shapes
        }

    @classmethod
    def open(
        cls, folder: str | Path, window: WindowReading = "past", mtp_trunk_state: TrunkState = "pre_norm"
    ) -> "Checkpoint":
        """Map a folder's tensors and check them against its config.

        Args:
            folder: a checkpoint folder.
            window: as `parse_config`.
            mtp_trunk_state: as `parse_config`.
        Returns: the checkpoint; no weight has been read yet.
        Raises:
            CheckpointError: a file or tensor is missing, damaged or of the wrong shape; the message names it.
            ConfigError: config.json has an impossible value.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(f"{folder} is not a folder: give a checkpoint folder (config.json, *.safetensors)")
        read_config(folder)  # an unusable config.json should be the first thing reported
        files = _map_files(folder)
        config = read_config(folder, _count_mtp(folder, files), window, mtp_trunk_state)
        checkpoint = cls(folder, config, files)
        checkpoint._check()
        return checkpoint

    def shape(self, name: str) -> tuple[int, ...]:
        """Give a tensor's shape.

        Args:
            name: a name of `tensor_shapes`.
        Returns: its shape, whatever the storage.
        """
        return self._shapes[name]

    def stored(self, name: str) -> np.ndarray:
        """Give a tensor as the file holds it.

        Args:
            name: a name of `names`.
        Returns: a read-only memory-mapped view in the stored dtype (bf16 is `ml_dtypes.bfloat16`).
        Raises:
            CheckpointError: no file holds that name.
        """
        if name not in self._files:
            raise CheckpointError(f"{self.folder} holds no tensor {name}")
        return self._files[name].array(name)

    def load(self, name: str) -> np.ndarray:
        """Give a tensor as numbers, dequantised if need be.

        Args:
            name: a name of `tensor_shapes`.
        Returns: float32 in the shape of `shape`.
        Raises:
            CheckpointError: there is no such tensor, or it holds NaN or infinite numbers.
        """
        return to_float32(self.floats(name))

    def quantized(self, name: str) -> Quantized | None:
        """Give a tensor's codes if it is stored as q8 or q4.

        Args:
            name: a name of `tensor_shapes`.
        Returns: the codes bit for bit, or None.
        Raises:
            CheckpointError: as `load`.
        """
        storage = self._storage(name)
        if not isinstance(storage, Packed):
            return None
        quantized = storage.quantized(self.stored)
        self._finite(name, quantized.scales_OG)
        return quantized

    def floats(self, name: str) -> np.ndarray:
        """Give a tensor as the floats that are stored, or as float32 if codes are.

        Args:
            name: a name of `tensor_shapes`.
        Returns: the dtype of `float_dtype`; a read-only view of the file if nothing had to be computed.
        Raises:
            CheckpointError: as `load`.
        """
        storage = self._storage(name)
        return self._finite(
            name, storage.values(self.stored) if isinstance(storage, Plain) else storage.load(self.stored)
        )

    def float_dtype(self, name: str) -> np.dtype:
        """Say what `floats` gives.

        Args:
            name: a name of `tensor_shapes`.
        Returns: float32, float16 or bfloat16.
        """
        storage = self._storage(name)
        return self._files[storage.name].entries[storage.name].dtype if isinstance(storage, Plain) else FLOAT32

    def bits(self, name: str) -> int | None:
        """Say whether a tensor is stored as q8 or q4.

        Args:
            name: a name of `tensor_shapes`.
        Returns: 8, 4 or None.
        """
        storage = self._storage(name)
        return storage.bits if isinstance(storage, Packed) else None

    def release(self, name: str) -> None:
        """Give back the memory that reading a tensor took in this process; call it when the tensor is done with.

        Args:
            name: a name of `tensor_shapes`.
        """
        for file in {self._files[part].path: self._files[part] for part in self._storage(name).parts}.values():
            file.release()

    def num_bytes_by_format(self) -> dict[str, int]:
        """Count what the model's tensors take on disk.

        Returns: bytes by format (a dtype such as BF16, or fp8, mxfp4, q8, q4 with their scales), most first; headers
        and unused tensors are left out.
        """
        parts = {part: storage for storage in self._storages.values() for part in storage.parts}
        sizes: Counter[str] = Counter()
        for part, storage in parts.items():
            entry = self._files[part].entries[part]
            sizes[entry.dtype_name if isinstance(storage, Plain) else storage.format] += entry.num_bytes
        return dict(sizes.most_common())

    def num_bytes(self) -> int:
        """Count what the model's tensors take on disk.

        Returns: bytes of data in all.
        """
        return sum(self.num_bytes_by_format().values())

    def num_elements(self) -> int:
        """Count what the model's tensors hold on disk.

        Returns: stored numbers in all, scales included.
        """
        parts = {part for storage in self._storages.values() for part in storage.parts}
        return sum(math.prod(self._files[part].entries[part].shape) for part in parts)

    def unused(self) -> dict[str, int]:
        """Count stored tensors that the text model does not read, such as a vision tower.

        Returns: numbers of elements by the first word of the name.
        """
        sizes: Counter[str] = Counter()
        for name in self.unused_names():
            sizes[name.partition(".")[0]] += math.prod(self._files[name].entries[name].shape)
        return dict(sorted(sizes.items()))

    def unused_names(self) -> list[str]:
        """List stored tensors that the text model does not read.

        Returns: names that `stored` takes, sorted.
        """
        used = {part for storage in self._storages.values() for part in storage.parts}
        return sorted(self._files.keys() - used)

    def _storage(self, name: str) -> Storage:
        if name not in self._storages:
            raise CheckpointError(f"{self.folder} holds no tensor {name}")
        return self._storages[name]

    def _stored_name(self, name: str) -> str:
        is_tied = self.config.tie_word_embeddings and name == "lm_head.weight"
        return "model.embed_tokens.weight" if is_tied else name

    def _finite(self, name: str, values: np.ndarray) -> np.ndarray:
        count = count_nonfinite(values)
        if count:
            raise CheckpointError(
                f"{self.folder}: {name} holds {count} numbers that are NaN or infinite; copy the folder again, or have "
                "whoever made it save it again"
            )
        return values

    def _check(self) -> None:
        parts = {part: want for storage in self._storages.values() for part, want in storage.parts.items()}
        problems = [problem for part, want in parts.items() for problem in self._problems(part, want)]
        problems += self._excess()
        if problems:
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise CheckpointError(
                f"{self.folder} does not fit its config.json: {'; '.join(problems[:3])}{more}. "
                "Copy the whole folder again, or use one of the MiMo-7B, V2-Flash or V2.5 layout"
            )

    def _problems(self, part: str, want: Part) -> Iterator[str]:
        if part not in self._files:
            yield f"tensor {part} is missing"
            return
        entry = self._files[part].entries[part]
        where = f"{self._files[part].path.name}: {part}"
        if entry.shape != want.shape:
            yield f"{where} has shape {list(entry.shape)}, config.json asks for {list(want.shape)}"
        elif entry.dtype_name not in want.dtypes:
            yield f"{where} is stored as {entry.dtype_name}, which must be {' or '.join(want.dtypes)}"
        elif want.content is not None and tuple(self.stored(part).tolist()) != want.content:
            yield f"{where} says {self.stored(part).tolist()}, config.json asks for {list(want.content)}"

    def _excess(self) -> Iterator[str]:
        """Layers that config.json does not know of: it belongs to another model."""
        found = {int(match[1]) for match in map(LAYER_NAME.match, self._files) if match}
        if max(found, default=-1) >= self.config.num_layers:
            yield f"the files hold layer {max(found)}, config.json asks for {self.config.num_layers} layers"


def has_weights(folder: str | Path) -> bool:
    """Tell a checkpoint from a folder that holds only its config.json.

    Args:
        folder: any path.
    Returns: False if there is a config.json and no weight file nor an index of such.
    """
    folder = Path(folder)
    is_bare = (folder / "config.json").is_file() and not (folder / INDEX).exists()
    return not (is_bare and not any(folder.glob("*.safetensors")))


def _map_files(folder: Path) -> dict[str, TensorFile]:
    """Open every shard; which file holds which tensor."""
    index = folder / INDEX
    if index.exists():
        return _map_indexed(folder, _read_index(index))
    # Other *.safetensors may lie beside the model (optimiser states, test vectors).
    paths = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not paths:
        raise CheckpointError(f"{folder} has no *.safetensors file: copy the model's weights there")
    files: dict[str, TensorFile] = {}
    for path in paths:
        file = TensorFile(path)
        both = sorted(file.entries.keys() & files.keys())
        if both:
            raise CheckpointError(
                f"{path} and {files[both[0]].path} both hold {both[0]}: keep one checkpoint's files only"
            )
        files |= dict.fromkeys(file.entries, file)
    return files


def _read_index(path: Path) -> dict[str, str]:
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        good = all(isinstance(shard, str) and Path(shard).name == shard for shard in names.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as an index: {error!r}; copy it again") from error
    if not good:
        raise CheckpointError(f"{path}: weight_map must name files of the same folder")
    return names


def _map_indexed(folder: Path, weight_map: Mapping[str, str]) -> dict[str, TensorFile]:
    shards = sorted(set(weight_map.values()))
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}, named by {INDEX}: copy the missing files there")
    strange = sorted({path.name for path in folder.glob("model*.safetensors")} - set(shards))
    if strange:
        raise CheckpointError(
            f"{folder}: {', '.join(strange)} is not named by {INDEX}: keep one checkpoint's files only"
        )
    files = {shard: TensorFile(folder / shard) for shard in shards}
    held = {name: shard for shard, file in files.items() for name in file.entries}
    wrong = sorted(name for name in held.keys() | weight_map.keys() if held.get(name) != weight_map.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{folder}: {INDEX} and the files disagree about {len(wrong)} tensors, first {name} (index: "
            f"{weight_map.get(name, 'not listed')}, files: {held.get(name, 'not found')}). Copy the folder again"
        )
    return {name: files[shard] for name, shard in held.items()}


def _count_mtp(folder: Path, files: Mapping[str, TensorFile]) -> int:
    found = {int(match[1]) for match in map(MTP_NAME.match, files) if match}
    missing = sorted(set(range(max(found, default=-1) + 1)) - found)
    if missing:
        raise CheckpointError(f"{folder} has MTP blocks {sorted(found)} but not {missing}: copy the missing file there")
    return len(found)


# Writing.


def save_checkpoint(
    folder: str | Path,
    published: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    files: Mapping[str, str] | None = None,
) -> None:
    """Write a checkpoint folder: config.json, model.safetensors and the given text files.

    A new folder appears whole or not at all. In a folder that exists every file is replaced whole, config.json last,
    and older weight files are removed; anything else in it stays.

    Args:
        folder: where.
        published: the content of config.json.
        tensors: by published name; any dtype of `tensorfile.DTYPES`.
        files: further files, name to text.
    Raises:
        CheckpointError: a dtype cannot be stored.
        OSError: the disk is full or not writable; what was there before is unharmed.
    """
    groups = [{name: Spec(tensor.dtype, tensor.shape)} for name, tensor in tensors.items()]
    with CheckpointWriter(folder, published, groups, files) as writer:
        writer.put(tensors)


class CheckpointWriter:
    """Writes a checkpoint folder tensor by tensor, holding none of them, in several files if it is large.

    Leaving a `with` block without an error puts the folder in place, as `save_checkpoint` says; with one it leaves
    nothing behind.

    Args:
        folder: where.
        published: the content of config.json.
        groups: the tensors to come; those of one group lie in one file.
        files: further files, name to text.
        shard_bytes: most bytes of a file, if no group is larger.
    Raises:
        CheckpointError: a dtype cannot be stored.
        OSError: the disk is full or not writable.
    """

    def __init__(
        self,
        folder: str | Path,
        published: Mapping[str, Any],
        groups: Sequence[Mapping[str, Spec]],
        files: Mapping[str, str] | None = None,
        shard_bytes: int = SHARD_BYTES,
    ):
        self._folder = Path(folder)
        self._shards = _plan_shards(groups, shard_bytes)
        self._texts = dict(files or {})
        if len(self._shards) > 1:
            self._texts[INDEX] = _index(self._shards)
        self._texts["config.json"] = json.dumps(published, indent=2, ensure_ascii=False) + "\n"
        self._draft = self._folder.parent / f".{self._folder.name}.{os.getpid()}.tmp"
        self._open = ExitStack()
        self._writers: dict[str, TensorWriter] = {}

    def __enter__(self) -> "CheckpointWriter":
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._draft, ignore_errors=True)  # a killed process with this number may have left one
        self._draft.mkdir()
        try:
            for shard, specs in self._shards.items():
                writer = self._open.enter_context(TensorWriter(self._draft / shard, specs))
                self._writers |= dict.fromkeys(specs, writer)
        except BaseException:
            shutil.rmtree(self._draft, ignore_errors=True)
            raise
        return self

    def put(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Write tensors, each once.

        Args:
            tensors: by name, as announced.
        Raises:
            OSError: the disk is full.
        """
        for name, tensor in tensors.items():
            self._writers[name].put(name, tensor)

    def __exit__(self, *error: Any) -> None:
        try:
            self._open.__exit__(*error)
            if error[0] is None:
                for name, text in self._texts.items():
                    _write_text(self._draft / name, text)
                make_durable(self._draft)
                _put_in_place(self._draft, self._folder, [*self._shards, *self._texts])
        finally:
            shutil.rmtree(self._draft, ignore_errors=True)


def _plan_shards(groups: Sequence[Mapping[str, Spec]], shard_bytes: int) -> dict[str, dict[str, Spec]]:
    plan: list[dict[str, Spec]] = [{}]
    size = 0
    for group in groups:
        num_bytes = sum(spec.num_bytes for spec in group.values())
        if plan[-1] and size + num_bytes > shard_bytes:
            plan.append({})
            size = 0
        plan[-1] |= group
        size += num_bytes
    if len(plan) == 1:
        return {"model.safetensors": plan[0]}
    return {f"model-{i + 1:05}-of-{len(plan):05}.safetensors": specs for i, specs in enumerate(plan)}


def _index(shards: Mapping[str, Mapping[str, Spec]]) -> str:
    total = sum(spec.num_bytes for specs in shards.values() for spec in specs.values())
    names = {name: shard for shard, specs in shards.items() for name in specs}
    return json.dumps({"metadata": {"total_size": total}, "weight_map": names}, indent=1) + "\n"


def _put_in_place(draft: Path, folder: Path, names: Sequence[str]) -> None:
    if not folder.exists():
        draft.rename(folder)
    else:
        for name in names:  # config.json is the last of them
            os.replace(draft / name, folder / name)
        for path in [*folder.glob("model*.safetensors"), folder / INDEX]:
            if path.name not in names:
                path.unlink(missing_ok=True)
        make_durable(folder)
    make_durable(folder.parent)


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def make_durable(path: Path) -> None:
    """Wait until a file's content, or the renames inside a folder, are on the disk.

    Args:
        path: file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
