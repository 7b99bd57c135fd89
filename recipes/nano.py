"""The default model: a 4M-parameter MiMo-V2-Flash that runs a home through tools.

Shows: pre-training-to-SFT of the hybrid MoE on our own world, MTP heads added on the trained trunk, q8 export.
Hardware: 2 CPU cores, no GPU. Time: about 45 minutes (trunk 35, heads 6). A GPU runs the same file.
Expect: the table in src/openmimo/weights/default/MODEL_CARD.md; `openmimo eval` measures it again.

    torchrun --nproc-per-node 2 recipes/nano.py       # train, or go on after an interruption
    python recipes/nano.py --ship                     # quantise the finished result into the package

One process a core is a quarter faster than two threads in one process: the small operations dominate.
"""

import argparse
import itertools
import json
import os
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import openmimo
import openmimo.chat
from openmimo.chat import ChatFormat, Message
from openmimo.checkpoint import Checkpoint, default_model_path, save_checkpoint
from openmimo.config import parse_config
from openmimo.environments.base import Split
from openmimo.environments.home import Home, HomeTask, sample_home, sample_tasks
from openmimo.evals import format_scores, score_homes
from openmimo.model.model import MiMo, load_model, new_model, published_tensors
from openmimo.quantize import quantize_folder
from openmimo.tokenizer import Tokenizer, train_tokenizer
from openmimo.train.data import Branch, PackedBatch, Tree, encode_reply, pack
from openmimo.train.loss import LossWeights
from openmimo.train.optim import OptimConfig
from openmimo.train.schedule import Piecewise
from openmimo.train.score import exact_branches, mtp_agreement
from openmimo.train.trainer import TrainConfig, train

SEED = 20
CONTROL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
    "<function=", "</function>", "<parameter=", "</parameter>", "<tool_response>", "</tool_response>",
)  # fmt: skip
VOCAB_SIZE = 2048
NUM_LAYERS = 7
GLOBAL_LAYERS = (0, 2, 4, 6)
ROWS, BRANCHES, DRILLS = 2, 16, 4
SLOTS = (8, 128)
CONTEXT_WEIGHT = 0.1
MUON = OptimConfig(lr=3e-3, matrix_lr=0.02, weight_decay=0.05)
MIX = {"named": 24, "alias": 24, "state": 20, "missing": 20, "area": 4, "pair": 4, "unsupported": 2, "ambiguous": 2}
FINAL_MIX = {**MIX, "named": 20, "alias": 20, "missing": 30}


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
        "max_position_embeddings": 2048,
        "num_nextn_predict_layers": num_mtp_layers,
        "eos_token_id": control_id("<|im_end|>"),
        "pad_token_id": control_id("<|endoftext|>"),
    }


def curriculum(step: int, steps: int, rng: random.Random) -> int:
    """Devices in the homes of one batch: small homes first, up to 14 after a sixth of the run."""
    ceiling = 4 + round(10 * min(1.0, 6 * step / steps))
    return rng.randint(3, ceiling)


class HomeTrees:
    """Draws training and evaluation trees: one home's listing as the stem, requests about it as the branches."""

    def __init__(self, chat: ChatFormat, seed: int, mix: Mapping[str, float] = MIX):
        self.chat, self.seed, self.mix = chat, seed, mix
        self.skipped = len(chat.encode([Message("system", "")], add_generation_prompt=False))

    def training(self, step: int, steps: int) -> PackedBatch:
        """Batch number `step` of `steps`, a function of these and the seed alone."""
        rng = random.Random(f"{self.seed}:{step}")
        devices = curriculum(step, steps, rng)
        trees = [self.tree(rng, devices, "train", "train")[0] for _ in range(ROWS)]
        return pack(trees, control_id("<|endoftext|>"), 64, SLOTS)

    def tree(self, rng: random.Random, devices: int, homes: Split, phrasings: Split) -> tuple[Tree, list[HomeTask]]:
        """A tree of BRANCHES requests about one new home; some bring earlier turns of their own."""
        home = sample_home(rng, devices, homes)
        tasks = sample_tasks(rng, home, BRANCHES, phrasings, weights=self.mix)
        stem = self.chat.encode(tasks[0].messages[:1], tasks[0].tools, add_generation_prompt=False)
        branches = [self.branch(rng, task) for task in tasks]
        if homes == "train":
            branches += [self.drill(rng, home) for _ in range(DRILLS)]
        return Tree(stem, branches), tasks

    def drill(self, rng: random.Random, home: Home) -> Branch:
        """Look up several devices in a row: nearly every token is a copy from the listing, which is what a model that
        starts from nothing has to discover first; ordinary requests reward it for that only now and then."""
        devices = rng.sample(home.devices, rng.randint(1, min(5, len(home.devices))))
        naming = rng.choice(("full", "area"))
        asked = [f"{device.area} {device.domain}" if naming == "area" else device.name for device in devices]
        told = "\n".join(home.quote(device, naming) for device in devices)
        return self.cut([Message("user", ", ".join(asked)), Message("assistant", told)])

    def branch(self, rng: random.Random, task: HomeTask) -> Branch:
        """What follows the system turn. Most branches end with the first reply: what comes after a tool is easy."""
        asked = task.messages[1:]
        branch = self.cut([*asked, *(task.gold if rng.random() < 0.3 else task.gold[:1])])
        return branch if len(branch.ids) <= SLOTS[1] else self.cut([*asked, task.gold[0]])

    def cut(self, messages: Sequence[Message]) -> Branch:
        """Encode after an empty system turn and cut that off: control tokens part the text, so it fits after any."""
        ids, weights = encode_reply(self.chat, [Message("system", ""), *messages], (), CONTEXT_WEIGHT)
        return Branch(ids[self.skipped :], weights[self.skipped :])


class Scoreboard:
    """Exact-match by kind on held-out homes, with known and with held-out phrasings; the same items every time."""

    def __init__(self, trees: HomeTrees, rows: int = 16):
        self.cells: dict[str, tuple[PackedBatch, list[list[HomeTask]]]] = {}
        for phrasings in ("train", "eval"):
            rng = random.Random(f"score:{phrasings}")
            pairs = [trees.tree(rng, rng.randint(3, 14), "eval", phrasings) for _ in range(rows)]
            self.cells[phrasings] = (
                pack([tree for tree, _ in pairs], control_id("<|endoftext|>"), 64),
                [tasks for _, tasks in pairs],
            )

    def __call__(self, model: MiMo, step: int) -> dict[str, Any]:
        """Percent right by kind in each cell, and the MTP heads' agreement."""
        table: dict[str, Any] = {}
        device = next(model.parameters()).device
        for cell, (batch, tasks) in self.cells.items():
            batch = batch.to(device)
            with torch.autocast(device.type, torch.bfloat16):
                right = exact_branches(model, batch).tolist()
                agreement = [round(share, 4) for share in mtp_agreement(model, batch)]
            by_kind = defaultdict(list)
            for task, is_right in zip(itertools.chain(*tasks), itertools.chain(*right), strict=True):
                by_kind[task.kind].append(is_right)
                by_kind["all"].append(is_right)
            table[cell] = {kind: round(100 * sum(hits) / len(hits)) for kind, hits in sorted(by_kind.items())}
            if agreement:
                table[f"{cell} agreement"] = agreement
        return table


def control_id(token: str) -> int:
    """Id of a control token: they come last in the vocabulary."""
    return VOCAB_SIZE - len(CONTROL_TOKENS) + CONTROL_TOKENS.index(token)


def default_template() -> str:
    """The chat template that the package carries for its own models."""
    return (Path(openmimo.chat.__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


def make_tokenizer(folder: Path) -> Tokenizer:
    """Train the tokenizer on conversations of training homes, once."""
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"tokenizer.{os.getpid()}.tmp"
        train_tokenizer(_corpus(), VOCAB_SIZE, CONTROL_TOKENS).save(str(partial))
        partial.rename(folder / "tokenizer.json")
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.control_ids["<|im_end|>"] == control_id("<|im_end|>")
    return tokenizer


def _corpus() -> Iterator[str]:
    """Rendered conversations of training homes, cut at the control tokens."""
    rng = random.Random(f"{SEED}:corpus")
    bare = Tokenizer(train_tokenizer(["home"], 400, CONTROL_TOKENS))  # rendering needs to know the control tokens
    template = ChatFormat(bare, default_template())
    for _ in range(2500):
        tasks = sample_tasks(rng, sample_home(rng, rng.randint(3, 14), "train"), 6)
        for number, task in enumerate(tasks):
            text = template.render([*task.messages, *task.gold], task.tools, add_generation_prompt=False)
            yield from re.split("|".join(map(re.escape, CONTROL_TOKENS)), text)[2 if number else 0 :]


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
    out: Path, start: Path | None, trees: HomeTrees, score: Scoreboard, files: dict[str, str], steps: int
) -> Path:
    """Train the trunk without MTP heads: they cost a quarter of the throughput and learn in minutes afterwards."""
    config = TrainConfig(
        folder=str(out / "trunk"),
        steps=steps,
        save_every=200,
        balance_speed=Piecewise(((0.0, 2e-3), (0.7, 5e-4), (0.9, 1e-4))),
        optim=MUON,
        weights=LossWeights(mtp=0.0),
    )
    model = load_model(Checkpoint.open(start)) if start else new_model(parse_config(published_config(0)), SEED)
    return train(model, config, lambda step: trees.training(step, steps * world_size()), files, score, 300)


def refine(out: Path, trunk: Path, trees: HomeTrees, score: Scoreboard, files: dict[str, str], steps: int) -> Path:
    """Go on at a quarter of the learning rate with more missing devices, the hardest kind: to say that something is
    not there a model must first be good at finding what is."""
    config = TrainConfig(
        folder=str(out / "refined"),
        steps=steps,
        save_every=200,
        balance_speed=Piecewise(((0.0, 5e-4), (0.6, 1e-4))),
        optim=replace(MUON, matrix_lr=0.005, lr=7.5e-4, decay=0.8),
        weights=LossWeights(mtp=0.0),
    )
    final, model = HomeTrees(trees.chat, trees.seed + 1, FINAL_MIX), load_model(Checkpoint.open(trunk))
    return train(model, config, lambda step: final.training(step + 10**6, 10**6), files, score, 150)


def train_heads(out: Path, trunk: Path, trees: HomeTrees, score: Scoreboard, files: dict[str, str], steps: int) -> Path:
    """Three MTP heads on the frozen trunk."""
    config = TrainConfig(
        folder=str(out / "heads"),
        steps=steps,
        save_every=200,
        optim=MUON,
        weights=LossWeights(trunk=0.0, mtp=1.0),
    )
    model = new_model(parse_config(published_config(3)), SEED + 1)
    trained = load_model(Checkpoint.open(trunk)).state_dict()
    model.load_state_dict(trained, strict=False)
    return train(model, config, lambda step: trees.training(step + 10**6, 10**6), files, score, 150)


def average(out: Path, trunk: Path, heads: Path, files: dict[str, str]) -> Path:
    """Midpoint of the trunk before and after `refine`, with the heads of the latter: keeps most of what either is
    better at (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022)."""
    model, before = load_model(Checkpoint.open(heads)), load_model(Checkpoint.open(trunk)).state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in before:
                parameter.lerp_(before[name], 0.5)
    save_checkpoint(out / "averaged", dict(model.config.published), dict(published_tensors(model)), files)
    return out / "averaged"


def world_size() -> int:
    """Processes of this run: 1 unless started by torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def ship(out: Path, result: Path) -> None:
    """Quantise the result into the package as the default model, score it and write its card."""
    target = default_model_path()
    shutil.rmtree(target, ignore_errors=True)
    quantize_folder(result, target)
    with openmimo.load(target, mtp=3) as engine:
        board = score_homes(engine, count=600, seed=0)
    (target / "scores.json").write_text(json.dumps({"home": board.as_data()}, indent=1), encoding="utf-8")
    card = Path(__file__).with_name("nano_card.md").read_text(encoding="utf-8")
    size = sum(path.stat().st_size for path in target.iterdir())
    fields = {"table": format_scores(board), "curve": learning_curve(out / "trunk"), "megabytes": f"{size / 1e6:.1f}"}
    (target / "MODEL_CARD.md").write_text(card.format(**fields), encoding="utf-8")


def learning_curve(folder: Path) -> str:
    """The scores logged during training, as a Markdown table."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [
        "| step | known phrasings: named | alias | state | missing | held-out phrasings: all |",
        "|" + " ---: |" * 6,
    ]
    for record in records:
        if "train" in record:
            known = [record["train"][kind] for kind in ("named", "alias", "state", "missing")]
            lines.append(f"| {record['step'] + 1} | {' | '.join(map(str, known))} | {record['eval']['all']} |")
    return "\n".join(lines)


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--initial", type=Path, help="start from the weights of this checkpoint")
    parser.add_argument("--steps", type=int, default=2050, help="trunk steps (default %(default)s)")
    parser.add_argument("--refine-steps", type=int, default=200, help="steps at a low rate (default %(default)s)")
    parser.add_argument("--head-steps", type=int, default=250, help="MTP head steps (default %(default)s)")
    parser.add_argument("--ship", action="store_true", help="replace the package's default model by the result")
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("WORLD_SIZE", "1"))))
    tokenizer = make_tokenizer(args.out)
    files = checkpoint_files(args.out)
    for name, text in files.items():
        (args.out / name).write_text(text, encoding="utf-8")
    chat = ChatFormat.load(args.out, tokenizer, "v2")
    trees = HomeTrees(chat, SEED)
    score = Scoreboard(trees)
    trunk = train_trunk(args.out, args.initial, trees, score, files, args.steps)
    refined = refine(args.out, trunk, trees, score, files, args.refine_steps)
    heads = train_heads(args.out, refined, trees, score, files, args.head_steps)
    if args.ship:
        ship(args.out, average(args.out, trunk, heads, files))


if __name__ == "__main__":
    main()
