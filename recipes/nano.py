"""The default model: a 4M-parameter MiMo-V2-Flash that runs a home and a car through tools, plans, sums and remembers.

Shows: training of the hybrid MoE on our own world, MTP heads added on the trained trunk, q8 export.
Hardware: 2 CPU cores, no GPU. Time: about 90 minutes (trunk 80, heads 6). A GPU runs the same file.
Expect: the table in src/openmimo/weights/default/MODEL_CARD.md; `openmimo eval` measures it again.

    torchrun --nproc-per-node 2 recipes/nano.py       # train, or go on after an interruption
    python recipes/nano.py --ship                     # quantise the finished result into the package

One process a core is a quarter faster than two threads in one process: the small operations dominate.
"""

import argparse
import json
import os
import shutil
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
from openmimo.model.model import MiMo, load_model, new_model
from openmimo.model.moe import MLP, MoE
from openmimo.quantize import quantize_folder
from openmimo.tokenizer import Tokenizer, train_tokenizer
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.processes import process_group, rank_and_world
from openmimo.train.schedule import Piecewise
from openmimo.train.trainer import TrainConfig, train

SEED = 20
CONTROL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<function=", "</function>", "<parameter=", "</parameter>", "<tool_response>", "</tool_response>",
)  # fmt: skip
VOCAB_SIZE = 2048
NUM_LAYERS = 7
GLOBAL_LAYERS = (0, 2, 4, 6)
SCORED = 400
OPTIM = OptimConfig(lr=3e-3, matrix_lr=0.02, weight_decay=0.05)
BALANCE = Piecewise(((0.0, 2e-3), (0.7, 5e-4), (0.9, 1e-4)))


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
        "max_position_embeddings": 4096,
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


def train_trunk(
    out: Path, start: Path | None, trees: Trees, score: Scoreboard, files: dict[str, str], steps: int
) -> Path:
    """Train the trunk without MTP heads: they cost a quarter of the throughput and learn in minutes afterwards.

    A trunk that has learnt already goes on at half the rate, with homes of every size from the first step.
    """
    config = TrainConfig(
        folder=str(out / "trunk"),
        steps=steps,
        save_every=200,
        balance_speed=BALANCE,
        optim=replace(OPTIM, matrix_lr=0.01, lr=1.5e-3) if start else OPTIM,
        weights=LossWeights(mtp=0.0),
    )
    model = new_model(parse_config(published_config(0)), SEED)
    if start:
        take_trunk(model, start)
    compile_feed_forward(model)
    return train(model, config, lambda index: trees.training(index, 1 if start else steps), files, score, 300)


def take_trunk(model: MiMo, folder: Path) -> None:
    """Give a model the trunk of a checkpoint, whatever MTP heads either has."""
    model.load_state_dict(load_model(Checkpoint.open(folder)).state_dict(), strict=False)


def compile_feed_forward(model: MiMo) -> None:
    """Fuse what lies between the matrix products of the feed-forward blocks: a quarter more tokens a second on a CPU.

    Attention has many shapes and gains little: compiling whole blocks takes minutes for 8% more.
    """
    for module in model.modules():
        if isinstance(module, MLP | MoE):
            module.compile(dynamic=False)


def train_heads(out: Path, trunk: Path, trees: Trees, score: Scoreboard, files: dict[str, str], steps: int) -> Path:
    """Three MTP heads on the frozen trunk."""
    config = TrainConfig(
        folder=str(out / "heads"), steps=steps, save_every=200, optim=OPTIM, weights=LossWeights(trunk=0.0, mtp=1.0)
    )
    model = new_model(parse_config(published_config(3)), SEED + 1)
    take_trunk(model, trunk)
    return train(model, config, lambda index: trees.training(10**6 + index, 1), files, score, 150)


def ship(out: Path, result: Path) -> None:
    """Quantise the result into the package as the default model, score it and write its card."""
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
        "tables": "\n\n".join(format_scores(board) for board in boards),
        "curve": learning_curve(out / "trunk"),
        "megabytes": f"{size / 1e6:.1f}",
        "count": SCORED,
        "mix": ", ".join(f"{suite} {share:g}%" for suite, share in SUITES.items()),
        "notes": (out / "notes.md").read_text(encoding="utf-8") if (out / "notes.md").exists() else "",
    }
    (target / "MODEL_CARD.md").write_text(card.format(**fields), encoding="utf-8")


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
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--initial", type=Path, help="go on from the trunk of this checkpoint, with --out's tokenizer")
    parser.add_argument("--steps", type=int, default=4000, help="trunk steps (default %(default)s)")
    parser.add_argument("--head-steps", type=int, default=250, help="MTP head steps (default %(default)s)")
    parser.add_argument("--ship", action="store_true", help="replace the package's default model by the result")
    args = parser.parse_args()
    with process_group():
        tokenizer = make_tokenizer(args.out)
        files = checkpoint_files(args.out)
        if rank_and_world()[0] == 0:
            for name, text in files.items():
                (args.out / name).write_text(text, encoding="utf-8")
        trees = Trees(ChatFormat(tokenizer, default_template()), SEED, control_id("<|endoftext|>"))
        score = Scoreboard(trees)
        trunk = train_trunk(args.out, args.initial, trees, score, files, args.steps)
        heads = train_heads(args.out, trunk, trees, score, files, args.head_steps)
        if args.ship:
            ship(args.out, heads)


if __name__ == "__main__":
    main()
