"""How well a trainer agrees with the engine that its rollouts came from, with and without replayed experts.

The engine samples replies of held-out home tasks with its weights in float32, bf16 and q8; the trainer, in float32 or
under bf16 autocast, scores the same tokens, choosing experts by itself and replaying the engine's. rho is the trainer's
probability of a sampled token over the engine's: 1 for every token would be perfectly on-policy. Prints the table of
docs/benchmarks.md:

    python benchmarks/routes.py
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from openmimo.checkpoint import Checkpoint, default_model_path
from openmimo.engine import Completion, Engine, SamplingParams
from openmimo.environments.home import HomeEnvironment
from openmimo.loading import Weights, load
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.model.moe import Router

ENGINES: tuple[Weights, ...] = ("f32", "bf16", "q8")
TRAINERS = {"f32": torch.float32, "bf16": torch.bfloat16}
OFF_GRID = 0.01
"""Noise on the trainer's matrices, as a share of their spread: shipped weights lie on q8's grid, a trainer's do not."""

Sample = tuple[list[int], Completion]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=16, help="held-out home tasks (default %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = moved_model()
    print("| engine | trainer | tokens (routers) that differ | mean, max of abs(rho - 1) | with replay |")
    print("| --- | --- | ---: | ---: | ---: |")
    for weights in ENGINES:
        with load(weights=weights, threads=1) as engine:
            engine.update(published_tensors(model))
            samples = sample(engine, args.tasks)
        for name, dtype in TRAINERS.items():
            free, replayed = (score(model, samples, dtype, is_replay) for is_replay in (False, True))
            columns = (f"{100 * tokens:.2f}% ({100 * routers:.2f}%)" for tokens, routers in [differing(free, samples)])
            rhos = [np.abs(ratios(scored, samples) - 1) for scored in (free, replayed)]
            shown = " | ".join((*columns, *(f"{rho.mean():.1e}, {rho.max():.1e}" for rho in rhos)))
            print(f"| {weights} | {name} | {shown} |", flush=True)


def moved_model() -> MiMo:
    """The default model in torch, a little off the grid that it was rounded to."""
    model = load_model(Checkpoint.open(default_model_path()))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.ndim > 1):
            parameter += OFF_GRID * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return model


def sample(engine: Engine, num_tasks: int) -> list[Sample]:
    """One reply for each task, with the prompt's ids."""
    assert engine.chat is not None
    tasks = HomeEnvironment().tasks("eval", 0, num_tasks)
    prompts = [engine.chat.encode(task.messages, task.tools) for task in tasks]
    params = [SamplingParams(seed=seed, max_new_tokens=96, logprobs=1, routes=True) for seed in range(num_tasks)]
    handles = [engine.submit(prompt, each) for prompt, each in zip(prompts, params, strict=True)]
    return [(prompt, handle.result()) for prompt, handle in zip(prompts, handles, strict=True)]


Scored = list[tuple[np.ndarray, Tensor]]
"""For each sample: log-probabilities of its new tokens, and the experts in use, booleans [T, sparse layers, E]."""


@torch.no_grad()
def score(model: MiMo, samples: list[Sample], dtype: torch.dtype, is_replay: bool) -> Scored:
    """Let the trainer read the samples."""
    scored = []
    for prompt, completion in samples:
        ids_BT = torch.tensor([[*prompt, *completion.token_ids]])
        routes_BTLK = routes_of(completion)[None] if is_replay else None
        with watched_routers(model) as chosen, torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            hidden_TC = model(ids_BT[:, :-1], routes_BTLK=routes_BTLK)[0]
            logits_NV = model.logits(hidden_TC[len(prompt) - 1 :]).float()
        logprobs_N = logits_NV.log_softmax(-1).gather(1, ids_BT[0, len(prompt) :, None])[:, 0]
        scored.append((logprobs_N.numpy(), torch.stack(chosen, 1)))
    return scored


def routes_of(completion: Completion) -> Tensor:
    """The engine's experts, int64 [T, sparse layers, K]."""
    assert completion.routes_TLK is not None
    return torch.from_numpy(completion.routes_TLK.astype(np.int64))


@contextmanager
def watched_routers(model: MiMo) -> Iterator[list[Tensor]]:
    """Collects which experts each router uses, booleans [T, E]."""
    chosen: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, __, gates_BTE: chosen.append(gates_BTE[0] > 0))
        for module in model.modules()
        if isinstance(module, Router)
    ]
    yield chosen
    for hook in hooks:
        hook.remove()


def differing(scored: Scored, samples: list[Sample]) -> tuple[float, float]:
    """Shares of tokens with another expert in any layer, and of single routers that chose otherwise."""
    parts = []
    for (_, chosen_TLE), (_, completion) in zip(scored, samples, strict=True):
        parts.append(~chosen_TLE.gather(2, routes_of(completion)).all(2))
    differs_TL = torch.cat(parts)
    return differs_TL.any(1).float().mean().item(), differs_TL.float().mean().item()


def ratios(scored: Scored, samples: list[Sample]) -> np.ndarray:
    """The trainer's probability of each sampled token over the engine's."""
    sampled = np.array([entry.logprob for _, completion in samples for entry in completion.logprobs or ()])
    return np.exp(np.concatenate([logprobs_N for logprobs_N, _ in scored]) - sampled)


if __name__ == "__main__":
    main()
