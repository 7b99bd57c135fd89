"""The default model: a 4M-parameter MiMo-V2-Flash that runs a home and a car through tools, plans, sums and remembers.

Shows: training of the hybrid MoE on our own world, MTP heads added on the trained trunk, q8 export.
Hardware: 2 CPU cores, no GPU. Time with bfloat16: 95 minutes from nothing (4,600 steps 88, heads 4, scores 3), 70 from
an earlier copy of the model (1,500 steps 62); twice that without. A GPU runs the same file.
Expect: from nothing 70% of homes, 94% of cars, 86% of energy, 93% of maths, 90% of programs, 78% of recall; from copy
to copy the table in src/openmimo/weights/default/MODEL_CARD.md. `openmimo eval` measures it again.

    torchrun --nproc-per-node 2 -m openmimo train pretrain recipes/nano.py    # also goes on after an interruption
    torchrun --nproc-per-node 2 -m openmimo train sft recipes/nano.py
    python recipes/nano.py runs/nano                  # quantise the result into the package, score it, write its card

One process a core is a quarter faster than two threads in one process: the small operations dominate.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nano_data import SUITES, Scoreboard, Trees, corpus

import openmimo
import openmimo.chat
from openmimo.chat import ChatFormat
from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.config import parse_config
from openmimo.evals import format_scores, score_suite
from openmimo.model.model import MiMo, load_model, new_model, published_tensors
from openmimo.quantize import quantize_folder
from openmimo.tokenizer import Tokenizer, train_tokenizer
from openmimo.train.data import PackedBatch
from openmimo.train.loss import LossWeights
from openmimo.train.merge import average
from openmimo.train.mining import Marker
from openmimo.train.optim import OptimConfig
from openmimo.train.processes import rank_and_world
from openmimo.train.recipe import Run
from openmimo.train.schedule import Piecewise
from openmimo.train.trainer import train

SEED = 20
CONTROL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<function=", "</function>", "<parameter=", "</parameter>", "<tool_response>", "</tool_response>",
)  # fmt: skip
VOCAB_SIZE = 2048
NUM_LAYERS = 7
GLOBAL_LAYERS = (0, 2, 4, 6)
SCORED = 400
SUMMARY = (
    ("home: plainly named single actions", "home", "named"),
    ("home: state questions", "home", "state"),
    ("home: device said by area, second name or owner", "home", "alias"),
    ("home: missing devices", "home", "missing"),
    ("home: several devices", "home", "pair"),
    ("home: conditions", "home", "condition"),
    ("home: follow-ups", "home", "followup"),
    ("home: relative changes", "home", "relative"),
    ("home: what no tool can do", "home", "unsupported"),
    ("home: ambiguous requests", "home", "ambiguous"),
    ("home, all kinds", "home", "all"),
    ("car, all kinds", "car", "all"),
    ("energy, all kinds", "energy", "all"),
    ("maths", "maths", "all"),
    ("programs", "programs", "all"),
    ("recall", "recall", "all"),
)
OPTIM = OptimConfig(lr=3e-3, matrix_lr=0.02, weight_decay=0.05)
BALANCE = Piecewise(((0.0, 2e-3), (0.7, 5e-4), (0.9, 1e-4)))
MARK_EVERY = 20
"""Steps for which the marker keeps its weights."""
MARK_FROM = 0.4
"""Share of a run from nothing after which it looks for what is still wrong; before, everything is."""


def published_config(num_mtp_layers: int) -> dict[str, Any]:
    """config.json of the model, in the published V2-Flash spelling."""
    sliding = {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 32, "v_head_dim": 32}
    return {
        "architectures": ["MiMoV2FlashForCausalLM"],
        "model_type": "mimo_v2_flash",
        "torch_dtype": "float32",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": NUM_LAYERS,
        "hybrid_layer_pattern": [0 if i in GLOBAL_LAYERS else 1 for i in range(NUM_LAYERS)],
        "moe_layer_freq": [0] + [1] * (NUM_LAYERS - 1),
        **sliding,
        **{f"swa_{key}": value for key, value in sliding.items()},
        "partial_rotary_factor": 0.5,
        "rope_theta": 10000,
        "swa_rope_theta": 10000,
        "sliding_window": 64,
        "sliding_window_size": 64,
        "add_swa_attention_sink_bias": True,
        "add_full_attention_sink_bias": False,
        "attention_bias": False,
        "attention_value_scale": 0.707,
        "hidden_act": "silu",
        "layernorm_epsilon": 1e-5,
        "n_routed_experts": 8,
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
        "max_position_embeddings": 8192,
        "num_nextn_predict_layers": num_mtp_layers,
        "eos_token_id": control_id("<|im_end|>"),
        "pad_token_id": control_id("<|endoftext|>"),
    }


def control_id(token: str) -> int:
    """Id of a control token: they come last in the vocabulary."""
    return VOCAB_SIZE - len(CONTROL_TOKENS) + CONTROL_TOKENS.index(token)


def default_template() -> str:
    """The chat template that the package carries for its own models."""
    return (Path(openmimo.chat.__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


def make_tokenizer(folder: Path) -> Tokenizer:
    """Train the tokenizer on conversations about training problems, once."""
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"tokenizer.{os.getpid()}.tmp"
        bare = Tokenizer(train_tokenizer(["home"], 400, CONTROL_TOKENS))  # rendering needs to know the control tokens
        text = corpus(ChatFormat(bare, default_template()), CONTROL_TOKENS, SEED)
        train_tokenizer(text, VOCAB_SIZE, CONTROL_TOKENS).save(str(partial))
        partial.rename(folder / "tokenizer.json")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.control_ids["<|im_end|>"] == control_id("<|im_end|>")
    return tokenizer


def checkpoint_files(folder: Path) -> dict[str, str]:
    """Text files that turn weights into a complete checkpoint."""
    settings = {"chat_template": default_template(), "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    generation = {"eos_token_id": [control_id("<|im_end|>")], "temperature": 0.0}
    return {
        "tokenizer.json": (folder / "tokenizer.json").read_text(encoding="utf-8"),
        "tokenizer_config.json": json.dumps(settings, indent=1),
        "generation_config.json": json.dumps(generation, indent=1),
    }


def pretrain(run: Run) -> Path:
    """Train the trunk without MTP heads: they cost a quarter of the throughput and learn in minutes afterwards.

    A checkpoint in the run's folder `initial` is gone on from, at a sixth of the rate and with homes of every size at
    once. Batches are then mostly of what the model still gets wrong.
    """
    trees, files = prepare(run.out)
    initial = run.out / "initial"
    has_learnt = initial.exists()
    config = run.config(
        4600,
        save_every=200,
        balance_speed=BALANCE,
        optim=replace(OPTIM, matrix_lr=0.003, lr=5e-4, decay=0.75) if has_learnt else OPTIM,
        weights=LossWeights(mtp=0.0),
    )
    model = new_model(parse_config(published_config(0)), SEED)
    if has_learnt:
        take_weights(model, initial)
    batch = mistakes(trees, model, 1) if has_learnt else mistakes(trees, model, config.steps, MARK_FROM)
    return train(model, config, batch, files, Scoreboard(trees), 300)


def mistakes(trees: Trees, model: MiMo, steps: int, first: float = 0.0) -> Callable[[int], PackedBatch]:
    """Batches mostly of what a model in training still gets wrong.

    Args:
        trees: to draw from.
        model: the model; looked at anew every MARK_EVERY steps.
        steps: of the whole run, for the curriculum; 1 is past it.
        first: share of the run before which batches are drawn as they come.
    Returns:
        what gives a batch by its number.
    """
    marker: Marker | None = None

    def batch(index: int) -> PackedBatch:
        nonlocal marker
        step = index // rank_and_world()[1]
        if step < first * steps:
            return trees.training(index, steps)
        if marker is None:  # made here, since a resumed run has its weights only by now
            marker = Marker(model.config.published, published_tensors(model))
        elif step % MARK_EVERY == 0:
            marker.update(published_tensors(model))
        return trees.training(index, steps, marker)

    return batch


def sft(run: Run) -> Path:
    """Three MTP heads on the frozen trunk.

    Where a checkpoint was gone on from, the trunk is the mean of that and of what came of it: better than either.
    """
    initial, trained = run.out / "initial", run.result_of("pretrain")
    if not initial.exists():
        return train_heads(run, with_heads(trained))
    return train_heads(run, average([with_heads(initial), with_heads(initial, trained)]))


def with_heads(*folders: Path) -> MiMo:
    """A model with heads that takes what each checkpoint has, the last one's weights before others."""
    model = new_model(parse_config(published_config(3)), SEED + 1)
    for folder in folders:
        take_weights(model, folder)
    return model


def train_heads(run: Run, model: MiMo, part: str = "") -> Path:
    """Train a model's MTP heads on its trunk as it is."""
    trees, files = prepare(run.out)
    config = run.config(250, part, save_every=200, optim=OPTIM, weights=LossWeights(trunk=0.0, mtp=1.0))
    return train(model, config, lambda index: trees.training(10**6 + index, 1), files, Scoreboard(trees), 150)


def prepare(out: Path, suites: Mapping[str, float] = SUITES) -> tuple[Trees, dict[str, str]]:
    """What all stages need: trees of some suites to draw batches from, and the text files of a checkpoint."""
    chat = ChatFormat(make_tokenizer(out), default_template())
    return Trees(chat, SEED, control_id("<|endoftext|>"), suites), checkpoint_files(out)


def take_weights(model: MiMo, folder: Path) -> None:
    """Give a model what a checkpoint has of it, with or without MTP heads."""
    model.load_state_dict(load_model(Checkpoint.open(folder)).state_dict(), strict=False)


def ship(out: Path, result: Path, more: str = "") -> None:
    """Quantise the result into the package as the default model, score it and write its card, with more to tell."""
    target = default_model_path()
    shutil.rmtree(target, ignore_errors=True)
    quantize_folder(result, target)
    with openmimo.load(target, mtp=3) as engine:
        boards = [score_suite(engine, suite, SCORED, seed=0) for suite in SUITES]
    scores = {board.suite: board.as_data() for board in boards}
    (target / "scores.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    card = Path(__file__).with_name("nano_card.md").read_text(encoding="utf-8")
    size = sum(path.stat().st_size for path in target.iterdir())
    fields = {
        "summary": summary(scores),
        "tables": "\n\n".join(format_scores(board) for board in boards),
        "rounding": rounding(result),
        "curve": learning_curve(out / "pretrain"),
        "megabytes": f"{size / 1e6:.1f}",
        "count": SCORED,
        "mix": ", ".join(f"{suite} {share:g}%" for suite, share in SUITES.items()),
        "notes": (out / "notes.md").read_text(encoding="utf-8") if (out / "notes.md").exists() else "",
        "more": more,
    }
    (target / "MODEL_CARD.md").write_text(card.format(**fields), encoding="utf-8")


def summary(scores: dict[str, Any]) -> str:
    """What the card and the README show first: scores.json's most telling rows, as a Markdown table."""
    columns = ("known phrasings", "held-out phrasings")
    homes = [scores["home"][column] for column in columns]
    rows = [(name, [_share(scores[suite][column], kind) for column in columns]) for name, suite, kind in SUMMARY]
    rows += [
        (
            "home: calls that invent a name",
            [f"{100 * home['invented'] / max(home['calls'], 1):.1f}%" for home in homes],
        ),
        ("home: tokens a step with three drafts", [f"{home['acceptance_length']:.2f}" for home in homes]),
    ]
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join(["| | known phrasings | held-out phrasings |", "| --- | ---: | ---: |", *lines])


def _share(column: dict[str, Any], kind: str) -> str:
    return f"{column['scores'][kind]['percent']:.0f}%" if kind in column["scores"] else "-"


def rounding(result: Path) -> str:
    """Home tasks with weights of 32, 8 and 4 bits, as a Markdown table."""
    lines = ["| weights | known phrasings | held-out phrasings |", "| --- | ---: | ---: |"]
    for weights in ("f32", "q8", "q4"):
        with openmimo.load(result, weights=weights, mtp="off") as engine:
            columns = score_suite(engine, "home", SCORED, seed=0).columns.values()
        cells = " | ".join(f"{column.scores['all'].percent:.1f}" for column in columns)
        lines.append(f"| {weights} | {cells} |")
    return "\n".join(lines)


def learning_curve(folder: Path) -> str:
    """The scores logged during training, as a Markdown table."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    suites = " | ".join(SUITES)
    lines = [f"| step | {suites} | home, held-out phrasings |", "|" + " ---: |" * (len(SUITES) + 2)]
    for record in records:
        if "kinds" in record:
            known = " | ".join(str(record["train"][suite]) for suite in SUITES)
            lines.append(f"| {record['step'] + 1} | {known} | {record['eval']['home']} |")
    return "\n".join(lines)


def main() -> None:
    """Ship the result of both stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that both stages were trained in")
    out = parser.parse_args().out
    ship(out, Run(out, "sft").result_of("sft"))


if __name__ == "__main__":
    main()
