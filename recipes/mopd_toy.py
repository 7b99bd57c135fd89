"""SFT and RL teachers on three drills: 3-digit sums, sorting 7 digits, reversing 10 letters.

Shows: a base that knows the skills but was taught by careless demonstrations, half of them with one wrong character;
and for each drill a teacher that reinforcement learning made of it, by whether answers are right and nothing else.
Hardware: 1 CPU core, no GPU.

    openmimo train sft recipes/mopd_toy.py
    openmimo train rl recipes/mopd_toy.py
"""

import random
from pathlib import Path
from typing import Any

from drills import DRILLS, END, PAD, VOCAB_SIZE, chat_format, spoil, text_files

from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.model.model import load_model, new_model
from openmimo.train.data import Branch, PackedBatch, pack_documents
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.recipe import Run
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.trainer import train

SEED = 7
ROWS, DOCUMENTS = 16, 6
LENGTH = 120
CHAT = chat_format()
SPOILT = 0.5
STEPS = {"sum": 120, "order": 80, "reverse": 60}
"""Steps of RL for each teacher."""


def published_config() -> dict[str, Any]:
    """config.json of the model, 0.3M parameters in the trunk."""
    return {
        "architectures": ["MiMoV2FlashForCausalLM"],
        "model_type": "mimo_v2_flash",
        "torch_dtype": "float32",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "hybrid_layer_pattern": [0, 1, 0],
        "moe_layer_freq": [0, 1, 1],
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 32,
        "v_head_dim": 32,
        "swa_num_attention_heads": 3,
        "swa_num_key_value_heads": 3,
        "swa_head_dim": 32,
        "swa_v_head_dim": 32,
        "partial_rotary_factor": 0.5,
        "rope_theta": 10000,
        "swa_rope_theta": 10000,
        "sliding_window": 16,
        "sliding_window_size": 16,
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "attention_bias": False,
        "attention_value_scale": 0.707,
        "hidden_act": "silu",
        "layernorm_epsilon": 1e-5,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 96,
        "n_shared_experts": None,
        "n_group": 1,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
        "norm_topk_prob": True,
        "routed_scaling_factor": None,
        "tie_word_embeddings": True,
        "max_position_embeddings": 64,
        "num_nextn_predict_layers": 2,
        "eos_token_id": END,
        "pad_token_id": PAD,
    }


def sft(run: Run) -> Path:
    """Demonstrations of all drills, half of them spoilt."""
    config = run.config(
        400, save_every=100, bf16=False, optim=OptimConfig(lr=3e-3, matrix_lr=0.01), weights=LossWeights(mtp=0.3)
    )
    return train(new_model(parse_config(published_config()), SEED), config, demonstrations, text_files())


def rl(run: Run) -> Path:
    """A teacher for each drill, from the same SFT checkpoint."""
    start, folder = run.result_of("sft"), run.folder
    for name, steps in STEPS.items():
        config = run.config(
            steps,
            name,
            save_every=20,
            bf16=False,
            balance_speed=1e-4,
            optim=OptimConfig(lr=1e-4, weight_decay=0.0, warmup=0.0, decay=0.0),
            weights=LossWeights(mtp=0.3),
        )
        settings = RLConfig(max_new_tokens=16, seed=SEED)
        model = load_model(Checkpoint.open(start))
        others = [drill for other, drill in DRILLS.items() if other != name]
        folder = train_rl(model, config, settings, {name: DRILLS[name]}, text_files(), 20, others)
    return folder


def demonstrations(step: int) -> PackedBatch:
    """Batch number `step` of SFT: a few demonstrations of each drill in every row, which do not see one another."""
    rng = random.Random(f"{SEED}:{step}")
    names = list(DRILLS)
    rows = [[demonstration(rng, names[n % len(names)]) for n in range(DOCUMENTS)] for _ in range(ROWS)]
    return pack_documents(rows, LENGTH, PAD)


def demonstration(rng: random.Random, name: str) -> Branch:
    """A problem and its answer, right or spoilt; loss on the answer only."""
    (task,) = DRILLS[name].sample_group(rng, "train", "train", 1)
    answer = spoil(rng, task.answer) if rng.random() < SPOILT else task.answer
    prompt, reply = CHAT.encode(task.messages), CHAT.tokenizer.encode(answer)
    return Branch([*prompt, *reply, END], [0.0] * len(prompt) + [1.0] * (len(reply) + 1))
