"""SFT, three RL teachers and students of all of them, on drills: 3-digit sums, sorting 7 digits, reversing 10 letters.

Shows: a base that knows the skills but was taught by careless demonstrations, half of them with one wrong character;
for each drill a teacher that reinforcement learning made of it, by whether answers are right and nothing else; and
students distilled from the three, in both forms of the objective, with and without the outcome.
Hardware: 1 CPU core, no GPU. Time: 12 minutes of it with bfloat16, about 25 without.
Expect (three seeds, sampled at temperature 1): 55%, 58% and 60% after SFT in sums, sorting and reversing; teachers of
89%, 86% and 77%; a student with 89%, 88% and 78%. docs/scoreboard.md has it all.

    openmimo train sft recipes/mopd_toy.py
    openmimo train rl recipes/mopd_toy.py
    openmimo train mopd recipes/mopd_toy.py

`mopd_scores.py` does all of it for several seeds, with the baselines, and makes a table. The first student is also
distilled from itself with its weights rounded to 4 bits.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from drills import DRILLS, END, PAD, VOCAB_SIZE, chat_format, spoil, text_files

from openmimo.checkpoint import Checkpoint
from openmimo.config import parse_config
from openmimo.engine import Engine, SamplingParams
from openmimo.environments import Environment, Task
from openmimo.loading import load
from openmimo.model.model import load_model, new_model
from openmimo.train.data import Branch, PackedBatch, pack_documents
from openmimo.train.distill import MopdObjective
from openmimo.train.loss import LossWeights
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.recipe import Run
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.rollout import percent_by_domain, roll_out
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import TrainConfig, train

SEED = 7
ROWS, DOCUMENTS = 16, 6
LENGTH = 120
CHAT = chat_format()
SPOILT = 0.5
SFT_STEPS, MORE_STEPS, MOST_STEPS = 1200, 600, 3000
"""Steps of SFT, and how many more at a time until the base knows every drill: sums come late."""
KNOWN = 90.0
"""Percent of greedy answers that are right then."""
STEPS = {"sum": 120, "order": 60, "reverse": 40}
"""Steps of RL for each teacher."""
RL = RLConfig(max_new_tokens=16)
MOPD_STEPS, FINISH_STEPS, ROLLOUTS = 100, 30, 32
"""Steps of a student, steps with rounded weights after them, and rollouts of each drill in a step."""
VARIANTS = {
    "full": (1, MopdObjective()),
    "sampled": (1, MopdObjective(is_full=False)),
    "full-outcome": (4, MopdObjective(alpha=0.2)),
    "sampled-outcome": (4, MopdObjective(alpha=0.2, is_full=False)),
}
"""Students: samples of each task, and the objective."""
PARAMS = SamplingParams(max_new_tokens=16)
PROGRESS_TASKS = 100
ON_POLICY = OptimConfig(lr=2e-4, weight_decay=0.0, warmup=0.0, decay=0.0)


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


def sft(run: Run, seed: int = SEED) -> Path:
    """Demonstrations of all drills, half of them spoilt, until the base knows them all."""
    optim = OptimConfig(lr=3e-3, matrix_lr=0.01)
    steps = SFT_STEPS
    while True:
        config = run.config(steps, save_every=100, bf16=False, optim=optim, weights=LossWeights(mtp=0.3))
        model = new_model(parse_config(published_config()), seed)
        folder = train(model, config, partial(demonstrations, seed), text_files())
        steps += MORE_STEPS
        if run.steps is not None or steps > MOST_STEPS or min(known(folder).values()) >= KNOWN:
            return folder


def rl(run: Run, seed: int = SEED) -> Path:
    """A teacher for each drill, from the same SFT checkpoint."""
    folder = run.folder
    for name, steps in STEPS.items():
        folder = reinforce(run, seed, steps, name, [name])
    return folder


def reinforce(run: Run, seed: int, steps: int, part: str, drills: Sequence[str]) -> Path:
    """RL on some drills, from the SFT checkpoint."""
    config = run.config(
        steps,
        part,
        save_every=20,
        bf16=False,
        balance_speed=1e-4,
        optim=replace(ON_POLICY, lr=1e-4),
        weights=LossWeights(mtp=0.3),
    )
    model = load_model(Checkpoint.open(run.result_of("sft")))
    own, others = {name: DRILLS[name] for name in drills}, [DRILLS[name] for name in DRILLS if name not in drills]
    return train_rl(model, config, replace(RL, seed=seed), own, text_files(), 20, others)


def mopd(run: Run, seed: int = SEED) -> Path:
    """Students of the three teachers; then the first one, for weights of 4 bits."""
    make_students(run, seed, VARIANTS)
    student = run.result_of("mopd", next(iter(VARIANTS)))
    itself = Teachers(dict.fromkeys(DRILLS, SELF), student)
    practice = Practice(partial(problems, seed + 1, ROLLOUTS), params=PARAMS, weights="q4")
    return distil(student, itself, practice, student_config(run, FINISH_STEPS, "q4"), progress, 10)


def make_students(run: Run, seed: int, variants: Mapping[str, tuple[int, MopdObjective]]) -> None:
    """Distil the three teachers, from the same SFT checkpoint, in each way of a table such as VARIANTS."""
    start = run.result_of("sft")
    teachers = Teachers({name: run.result_of("rl", name) for name in DRILLS}, start)
    for part, (samples, objective) in variants.items():
        practice = Practice(partial(problems, seed, ROLLOUTS // samples), samples, PARAMS, objective)
        distil(start, teachers, practice, student_config(run, MOPD_STEPS, part), progress, 10)


def student_config(run: Run, steps: int, part: str) -> TrainConfig:
    """Settings of a distillation."""
    weights = LossWeights(mtp=0.3, balance=0.0)
    return run.config(steps, part, save_every=50, bf16=False, balance_speed=0.0, optim=ON_POLICY, weights=weights)


def problems(seed: int, count: int, step: int) -> dict[str, list[tuple[Environment, Task]]]:
    """As many tasks of each drill for a step."""
    return {
        name: [(drill, task) for task in drill.tasks("train", seed + 1000 * step, count)]
        for name, drill in DRILLS.items()
    }


def progress(engine: Engine, _: int) -> dict[str, Any]:
    """Percent of held-out problems that are answered right, sampled."""
    return {"sampled": right(engine, replace(PARAMS, seed=1))}


def known(folder: Path) -> dict[str, float]:
    """Percent of held-out problems that a checkpoint answers right, greedily."""
    with load(folder, "f32", threads=torch.get_num_threads()) as engine:
        return right(engine, replace(PARAMS, temperature=0.0))


def right(engine: Engine, params: SamplingParams) -> dict[str, float]:
    """Percent of held-out problems that are answered right, for each drill."""
    tasks = [(drill, task) for drill in DRILLS.values() for task in drill.tasks("eval", 1, PROGRESS_TASKS)]
    return percent_by_domain(roll_out(engine, tasks, 1, params))


def demonstrations(seed: int, step: int) -> PackedBatch:
    """Batch number `step` of SFT: a few demonstrations of each drill in every row, which do not see one another."""
    rng = random.Random(f"{seed}:{step}")
    names = list(DRILLS)
    rows = [[demonstration(rng, names[n % len(names)]) for n in range(DOCUMENTS)] for _ in range(ROWS)]
    return pack_documents(rows, LENGTH, PAD)


def demonstration(rng: random.Random, name: str) -> Branch:
    """A problem and its answer, right or spoilt; loss on the answer only."""
    (task,) = DRILLS[name].sample_group(rng, "train", "train", 1)
    answer = spoil(rng, task.answer) if rng.random() < SPOILT else task.answer
    prompt, reply = CHAT.encode(task.messages), CHAT.tokenizer.encode(answer)
    return Branch([*prompt, *reply, END], [0.0] * len(prompt) + [1.0] * (len(reply) + 1))
