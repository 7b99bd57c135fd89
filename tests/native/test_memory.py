"""Loading holds the engine's own weights and one tensor at a time, whatever the files' size and format."""

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from openmimo.checkpoint import CheckpointWriter
from openmimo.config import parse_config
from openmimo.costs import announced_specs

CONFIG = {
    "model_type": "mimo_v2", "vocab_size": 4096, "hidden_size": 512, "intermediate_size": 2048,
    "num_hidden_layers": 6, "hybrid_layer_pattern": [0, 1, 1, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1, 1, 1],
    "num_attention_heads": 8, "num_key_value_heads": 2, "swa_num_key_value_heads": 4, "head_dim": 64,
    "sliding_window": 16, "add_swa_attention_sink_bias": True, "partial_rotary_factor": 0.5,
    "n_routed_experts": 16, "num_experts_per_tok": 2, "moe_intermediate_size": 256, "layernorm_epsilon": 1e-5,
    "max_position_embeddings": 1024, "dtype": "bfloat16",
}  # fmt: skip
FP8 = {
    "attention_projection_layout": "fused_qkv",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
LARGEST = 4096 * 512  # numbers of the embedding
SLACK = 8 * 2**20  # activations, the allocator, code that is run for the first time

LOAD = """
import sys
from openmimo.checkpoint import Checkpoint
from openmimo.native import NativeBackend

def memory(line):
    with open("/proc/self/status") as status:
        return next(int(text.split()[1]) * 1024 for text in status if text.startswith(line))

checkpoint = Checkpoint.open(sys.argv[1])
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")  # the peak starts anew here
before = memory("VmRSS")
backend = NativeBackend(checkpoint, sys.argv[2], 1, 1, 1)
print(memory("VmHWM") - before, backend.weight_bytes)
"""


def random_folder(folder: Path, published: dict) -> Path:
    """A checkpoint of random numbers, made tensor by tensor in the format that its config announces."""
    specs = announced_specs(parse_config(published))
    rng = np.random.default_rng(0)
    with CheckpointWriter(folder, published, [specs]) as writer:
        for name, spec in specs.items():
            if spec.dtype == ml_dtypes.float8_e4m3fn:
                tensor = rng.integers(0, 0x70, spec.shape, np.uint8).view(spec.dtype)
            else:
                tensor = (rng.random(spec.shape, np.float32) / 16).astype(spec.dtype)
            writer.put({name: tensor})
    return folder


@pytest.fixture(scope="module", params=["bf16", "fp8"])
def folder(request, tmp_path_factory):
    published = CONFIG | (FP8 if request.param == "fp8" else {})
    return random_folder(tmp_path_factory.mktemp(request.param) / "model", published)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("weights", ["bf16", "q8", "q4"])
def test_loading_holds_the_weights_and_one_tensor(folder, weights):
    assert (folder / "model.safetensors").stat().st_size > 40e6
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder), weights], capture_output=True, text=True, check=True, timeout=120
    )
    peak, kept = map(int, done.stdout.split())
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 512
    assert kept <= peak + 2**20  # the measure sees the weights at all
    assert peak < kept + 4 * LARGEST + SLACK
