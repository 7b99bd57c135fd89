"""Checkpoint folders: published tensor names, memory-mapped reading, atomic writing.

A folder holds config.json, *.safetensors (with model.safetensors.index.json if there are several) and, for text,
tokenizer.json and tokenizer_config.json.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from openmimo.config import LayerConfig, ModelConfig, TrunkState, WindowReading, read_config
from openmimo.errors import CheckpointError
from openmimo.q8 import GROUP_SIZE, dequantize_q8, unpack_q8
from openmimo.tensorfile import NAMES, TensorFile, write_tensors

__all__ = ["Checkpoint", "default_model_path", "make_durable", "mtp_prefix", "save_checkpoint", "tensor_shapes"]

INDEX = "model.safetensors.index.json"
FLOATS = ("F32", "F16", "BF16")
MTP_NAME = re.compile(r"model\.(?:mtp\.layers|mtp_layers)\.(\d{1,3})\.")


def default_model_path() -> Path:
    """Find the model that comes with the package.

    Returns: its checkpoint folder.
    """
    return Path(__file__).parent / "weights" / "default"


# The one table of published names.


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """List every tensor of a model under its published name.

    Args:
        config: the model's shape.
    Returns: name to shape, trunk first; `lm_head.weight` is listed even if it is the embedding (tie_word_embeddings).
    """
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for index, layer in enumerate(config.layers):
        prefix = f"model.layers.{index}."
        shapes |= _norms(prefix, hidden, "input_layernorm", "post_attention_layernorm")
        shapes |= _attention(prefix, layer, config)
        shapes |= _experts(prefix, config) if layer.is_sparse else _mlp(prefix, config)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (config.vocab_size, hidden)}
    for head in range(config.num_mtp_layers):
        shapes |= _mtp(mtp_prefix(config, head), config)
    return shapes


def mtp_prefix(config: ModelConfig, head: int) -> str:
    """Say where one multi-token-prediction block lies.

    Args:
        config: the model's shape.
        head: 0-based.
    Returns: the beginning of its tensors' names.
    """
    return f"model.mtp.layers.{head}." if config.family == "v2" else f"model.mtp_layers.{head}."


def _norms(prefix: str, hidden: int, *names: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{name}.weight": (hidden,) for name in names}


def _attention(prefix: str, layer: LayerConfig, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, prefix = config.hidden_size, prefix + "self_attn."
    rows = {
        "q": layer.num_attention_heads * layer.head_dim,
        "k": layer.num_key_value_heads * layer.head_dim,
        "v": layer.num_key_value_heads * layer.v_head_dim,
    }
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}{name}_proj.weight": (rows[name], hidden) for name in rows}
    if config.attention_bias:
        shapes |= {f"{prefix}{name}_proj.bias": (rows[name],) for name in rows}
    shapes[f"{prefix}o_proj.weight"] = (hidden, layer.num_attention_heads * layer.v_head_dim)
    if layer.has_sink:
        shapes[f"{prefix}attention_sink_bias"] = (layer.num_attention_heads,)
    return shapes


def _gated(prefix: str, hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}gate_proj.weight": (inner, hidden),
        f"{prefix}up_proj.weight": (inner, hidden),
        f"{prefix}down_proj.weight": (hidden, inner),
    }


def _mlp(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return _gated(f"{prefix}mlp.", config.hidden_size, config.intermediate_size)


def _experts(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    num_experts, hidden = config.n_routed_experts, config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}mlp.gate.weight": (num_experts, hidden),
        f"{prefix}mlp.gate.e_score_correction_bias": (num_experts,),
    }
    for expert in range(num_experts):
        shapes |= _gated(f"{prefix}mlp.experts.{expert}.", hidden, config.moe_intermediate_size)
    return shapes


def _mtp(prefix: str, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden = config.hidden_size
    if config.family == "v2":
        norms = ("enorm", "hnorm", "input_layernorm", "pre_mlp_layernorm", "final_layernorm")
        projection = "eh_proj"
    else:
        norms = (
            "token_layernorm",
            "hidden_layernorm",
            "input_layernorm",
            "post_attention_layernorm",
            "final_layernorm",
        )
        projection = "input_proj"
    shapes = _norms(prefix, hidden, *norms) | {f"{prefix}{projection}.weight": (hidden, 2 * hidden)}
    return shapes | _attention(prefix, config.mtp_layer, config) | _mlp(prefix, config)


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
        name = self._stored_name(name)
        if name not in self._files:
            raise CheckpointError(f"{self.folder} holds no tensor {name}")
        return self._files[name].array(name)

    def load(self, name: str) -> np.ndarray:
        """Give a tensor as numbers, dequantised if need be.

        Args:
            name: a name of `tensor_shapes`.
        Returns: float32.
        Raises:
            CheckpointError: there is no such tensor.
        """
        quantized = self.quantized(name)
        return dequantize_q8(*quantized) if quantized else self.stored(name).astype(np.float32)

    def quantized(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Give a tensor's q8 form if that is how it is stored.

        Args:
            name: a name of `tensor_shapes`.
        Returns: codes int8 [out, in] and scales float32 [out, ceil(in / 32)], or None.
        """
        name = self._stored_name(name)
        if f"{name}_packed" not in self._files:
            return None
        codes = unpack_q8(self.stored(f"{name}_packed"), self._shapes[name][1])
        return codes, self.stored(f"{name}_scale").astype(np.float32)

    def num_bytes_by_dtype(self) -> dict[str, int]:
        """Count what the model's tensors take on disk.

        Returns: bytes by safetensors dtype, most first; headers and unused tensors are left out.
        """
        stored = {part for name in self._shapes for part in self._parts(self._stored_name(name))}
        entries = [self._files[name].entries[name] for name in stored]
        sizes: Counter[str] = Counter()
        for entry in entries:
            sizes[NAMES[entry.dtype]] += entry.end - entry.begin
        return dict(sizes.most_common())

    def num_bytes(self) -> int:
        """Count what the model's tensors take on disk.

        Returns: bytes of data in all.
        """
        return sum(self.num_bytes_by_dtype().values())

    def _stored_name(self, name: str) -> str:
        is_tied = self.config.tie_word_embeddings and name == "lm_head.weight"
        return "model.embed_tokens.weight" if is_tied else name

    def _parts(self, name: str) -> dict[str, tuple[tuple[int, ...], tuple[str, ...]]]:
        """The stored tensors that make up one, with the shape and the dtypes that each may have."""
        shape = self._shapes[name]
        if name in self._files or f"{name}_packed" not in self._files:
            return {name: (shape, FLOATS)}
        num_out, num_in = shape
        return {
            f"{name}_packed": ((num_out, -(-num_in // 4)), ("I32",)),
            f"{name}_scale": ((num_out, -(-num_in // GROUP_SIZE)), FLOATS),
            f"{name}_shape": ((2,), ("I64",)),
        }

    def _check(self) -> None:
        problems = [problem for name in self._shapes for problem in self._problems(self._stored_name(name))]
        if problems:
            more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
            raise CheckpointError(
                f"{self.folder} does not fit its config.json: {'; '.join(problems[:3])}{more}. "
                "Copy the whole folder again, or use a folder of the V2-Flash or MiMo-7B layout in f32, bf16, f16 or q8"
            )

    def _problems(self, name: str) -> Iterator[str]:
        for part, (shape, dtypes) in self._parts(name).items():
            if part not in self._files:
                yield f"tensor {part} is missing"
                continue
            entry = self._files[part].entries[part]
            where = f"{self._files[part].path.name}: {part}"
            if entry.shape != shape:
                yield f"{where} has shape {list(entry.shape)}, config.json asks for {list(shape)}"
            elif NAMES[entry.dtype] not in dtypes:
                yield f"{where} is stored as {NAMES[entry.dtype]}, which must be {' or '.join(dtypes)}"
            elif part.endswith("_shape") and tuple(self.stored(part)) != self._shapes[name]:
                yield f"{where} says {self.stored(part).tolist()}, config.json asks for {list(self._shapes[name])}"


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
    folder = Path(folder)
    texts = {**(files or {}), "config.json": json.dumps(published, indent=2, ensure_ascii=False) + "\n"}
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    shutil.rmtree(draft, ignore_errors=True)  # a killed process with this number may have left one
    draft.mkdir()
    try:
        write_tensors(draft / "model.safetensors", tensors)
        for name, text in texts.items():
            _write_text(draft / name, text)
        make_durable(draft)
        _put_in_place(draft, folder, [*(files or {}), "model.safetensors", "config.json"])
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _put_in_place(draft: Path, folder: Path, names: list[str]) -> None:
    if not folder.exists():
        draft.rename(folder)
    else:
        for name in names:
            os.replace(draft / name, folder / name)
        for path in [*folder.glob("model?*.safetensors"), folder / INDEX]:
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
