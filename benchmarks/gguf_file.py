"""Write a checkpoint of checkpoints.py as a GGUF file, so that llama.cpp and ik_llama.cpp can run the same weights.

Runs in the peers' interpreter and needs only numpy and the `gguf` package. MTP blocks are left out: ik_llama.cpp loads
no file that holds them. The value scale of MiMo-V2 is multiplied into the output projection, which is the same
arithmetic and spares both peers a step. The vocabulary is left out too: the benchmark speaks in token ids.

    python benchmarks/gguf_file.py runs/bench/S runs/bench/S-q4_0.gguf q4_0
"""

import argparse
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf  # pyright: ignore[reportMissingImports]
import numpy as np

TYPES = {
    "q4_0": gguf.GGMLQuantizationType.Q4_0,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
    "bf16": gguf.GGMLQuantizationType.BF16,
}
F32 = gguf.GGMLQuantizationType.F32
BLOCK = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    **{
        f"self_attn.{part}_proj.{kind}": f"attn_{name}.{kind}"
        for part, name in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output"))
        for kind in ("weight", "bias")
    },
    "self_attn.attention_sink_bias": "attn_sinks.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    **{f"mlp.{part}_proj.weight": f"ffn_{part}.weight" for part in ("gate", "up", "down")},
}


class Folder:
    """The bf16 and f32 tensors of a safetensors folder, read one at a time as float32."""

    def __init__(self, folder: Path):
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, tuple[Path, int, str]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                self.shapes[name] = tuple(entry["shape"])
                self._places[name] = (path, 8 + size + entry["data_offsets"][0], entry["dtype"])

    def load(self, name: str) -> np.ndarray:
        """One tensor as float32."""
        path, offset, dtype = self._places[name]
        stored = np.dtype(np.uint16 if dtype == "BF16" else np.float32)
        values = np.memmap(path, stored, "r", offset, self.shapes[name])
        return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else np.asarray(values)


Tensor = tuple[str, tuple[int, ...], bool, Callable[[], Iterator[np.ndarray]]]
"""GGUF name, shape, whether it is quantised, and its values in pieces along the first axis."""


def tensors(folder: Folder) -> Iterator[Tensor]:
    """Everything that a peer needs, in file order."""
    yield _single(folder, "model.embed_tokens.weight", "token_embd.weight")
    for layer in range(folder.config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for published, name in BLOCK.items():
            if prefix + published in folder.shapes:
                scale = folder.config.get("attention_value_scale", 1.0) if name == "attn_output.weight" else 1.0
                yield _single(folder, prefix + published, f"blk.{layer}.{name}", scale)
        if prefix + "mlp.experts.0.gate_proj.weight" in folder.shapes:
            for part in ("gate", "up", "down"):
                yield _experts(
                    folder, prefix + "mlp.experts.{}." + part + "_proj.weight", f"blk.{layer}.ffn_{part}_exps"
                )
    yield _single(folder, "model.norm.weight", "output_norm.weight")
    yield _single(folder, "lm_head.weight", "output.weight")


def _single(folder: Folder, published: str, name: str, scale: float = 1.0) -> Tensor:
    shape = folder.shapes[published]
    is_quantised = len(shape) > 1 and not name.endswith("ffn_gate_inp.weight")

    def pieces() -> Iterator[np.ndarray]:
        values = folder.load(published)
        yield values if scale == 1.0 else values * np.float32(scale)

    return name, shape, is_quantised, pieces


def _experts(folder: Folder, template: str, name: str) -> Tensor:
    count = folder.config["n_routed_experts"]
    shape = (count, *folder.shapes[template.format(0)])
    return name + ".weight", shape, True, lambda: (folder.load(template.format(expert)) for expert in range(count))


def write(source: Path, target: Path, kind: str) -> None:
    """Convert a folder.

    Args:
        source: checkpoint folder.
        target: the GGUF file; a half-written one is never left under this name.
        kind: number format of the matrices, a key of `TYPES`.
    """
    folder, part = Folder(source), target.with_suffix(".part")
    is_v2 = "hybrid_layer_pattern" in folder.config
    writer = gguf.GGUFWriter(part, "mimo2" if is_v2 else "qwen2")
    _add_settings(writer, folder.config, is_v2)
    items = list(tensors(folder))
    for name, shape, is_quantised, _ in items:
        kept = TYPES[kind] if is_quantised else F32
        stored = shape if kept == F32 else gguf.quant_shape_to_byte_shape(shape, kept)
        dtype = np.dtype(np.float32 if kept == F32 else np.uint8)
        writer.add_tensor_info(name, stored, dtype, int(np.prod(stored)) * dtype.itemsize, raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, _, is_quantised, pieces in items:
        kept = TYPES[kind] if is_quantised else F32
        writer.write_tensor_data(np.concatenate([gguf.quantize(piece, kept) for piece in pieces()]))
    writer.close()
    part.rename(target)


def _add_settings(writer: gguf.GGUFWriter, config: dict[str, Any], is_v2: bool) -> None:
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if not is_v2:
        writer.add_head_count_kv(config["num_key_value_heads"])
        return
    pattern = config["hybrid_layer_pattern"]
    writer.add_head_count_kv([config[("swa_" if w else "") + "num_key_value_heads"] for w in pattern])
    writer.add_rope_freq_base_swa(config["swa_rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    writer.add_sliding_window_pattern([bool(w) for w in pattern])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["v_head_dim"])
    writer.add_rope_dimension_count(int(config["head_dim"] * config["partial_rotary_factor"]))
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_weights_norm(config["norm_topk_prob"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkpoint folder")
    parser.add_argument("target", type=Path, help="GGUF file")
    parser.add_argument("kind", choices=sorted(TYPES), help="number format of the matrices")
    args = parser.parse_args()
    write(args.source, args.target, args.kind)


if __name__ == "__main__":
    main()
