"""The `openmimo` program: serve, chat, generate, show, bench, doctor, eval, world, quantize, train."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmimo.errors import CapacityError, CheckpointError, ConfigError, DataError, OpenMiMoError, RequestError

if TYPE_CHECKING:
    from openmimo.evals import Scoreboard

__all__ = ["main"]

EXIT_CODES = {CheckpointError: 3, ConfigError: 2, RequestError: 2, DataError: 2, CapacityError: 4}
"""Exit code of each kind of error, the first that fits; any other openmimo error ends in 1."""

WORLDS = ("home", "car", "energy")
"""Names of LIVE_WORLDS, which a parser is made without."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; None takes the process's own.
    Returns:
        exit code: 0 done, 2 a bad setting, request or line of data, 3 a bad checkpoint, 4 no room, 1 anything else of
        ours, and what a shell says of the signals: 130 interrupted, 141 nobody reads the output any more.
    """
    args = _parser().parse_args(argv)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # what is still buffered has to go somewhere, or Python complains at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OpenMiMoError as error:
        print(f"openmimo: {error}", file=sys.stderr)
        return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="openmimo", description="A small MiMo of your own: serve it, talk to it, look inside it, measure it."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_serve,
        _add_chat,
        _add_generate,
        _add_show,
        _add_bench,
        _add_doctor,
        _add_eval,
        _add_world,
        _add_quantize,
        _add_train,
    ):
        add(commands)
    return parser


def _add_serve(commands: Any) -> None:
    parser = commands.add_parser("serve", help="web page and OpenAI-compatible API, with simulated worlds to act in")
    _engine_options(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    parser.add_argument("--api-key", help="key that every route but /health asks for; needed beyond loopback")
    parser.set_defaults(run=_serve)


def _add_chat(commands: Any) -> None:
    parser = commands.add_parser("chat", help="talk in the terminal; the model acts in a simulated world")
    _engine_options(parser)
    _sampling_options(parser)
    parser.add_argument("--world", choices=WORLDS, default="home", help="default %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON line for each line of standard input")
    parser.set_defaults(run=_chat)


def _add_generate(commands: Any) -> None:
    parser = commands.add_parser("generate", help="continue one prompt and stop")
    _engine_options(parser)
    _sampling_options(parser)
    parser.add_argument("--prompt", help="text to continue, as it stands; standard input if neither is given")
    parser.add_argument("--logprobs", type=int, default=0, metavar="N", help="with --json: N likely tokens at each")
    parser.add_argument("--ids", help="token ids to continue, separated by commas, for a folder without a tokenizer")
    parser.add_argument("--json", action="store_true", help="print the whole completion as JSON")
    parser.set_defaults(run=_generate)


def _add_show(commands: Any) -> None:
    parser = commands.add_parser("show", help="layers, parameters, memory of a checkpoint")
    parser.add_argument("folder", nargs="?", help="checkpoint folder (default: the model in the package)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_show)


def _add_bench(commands: Any) -> None:
    parser = commands.add_parser("bench", help="prefill and decode speed of a checkpoint")
    _engine_options(parser)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="prompt length (default %(default)s)")
    parser.add_argument("--new-tokens", type=int, default=128, help="tokens to decode (default %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="requests that decode side by side (default %(default)s)")
    parser.add_argument("--context", type=int, default=0, help="tokens before the decoded ones (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs after one warm-up (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_bench)


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="what this machine has, and whether everything works on it")
    parser.add_argument("folder", nargs="?", help="checkpoint folder to look at besides")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_doctor)


def _add_eval(commands: Any) -> None:
    parser = commands.add_parser("eval", help="score a model on held-out problems and phrasings")
    _engine_options(parser, mtp="all")
    parser.add_argument(
        "--suite", metavar="NAMES", help="home,car,energy,maths,programs,recall (default: all there are)"
    )
    parser.add_argument("--n", type=int, default=200, help="tasks of each set (default %(default)s)")
    parser.add_argument("--samples", type=int, default=1, help="attempts at temperature 1; 0: greedy only (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="which tasks are drawn (default %(default)s)")
    parser.add_argument("--wrong", type=int, default=0, metavar="N", help="also print N failed episodes of each kind")
    parser.add_argument("--log", metavar="FILE", help="append every played episode to this log, for `world replay`")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_eval)


def _add_world(commands: Any) -> None:
    parser = commands.add_parser("world", help="the simulated world: run a day, act by hand, replay a log")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    day = actions.add_parser("day", help="let a home, its people, car and energy run for a day, and print it")
    day.add_argument("--seed", type=int, default=0, help="which world (default %(default)s)")
    day.add_argument("--json", action="store_true", help="print JSON")
    day.set_defaults(run=_world_day)
    live = actions.add_parser("live", help="act in a live world by hand: type calls, let time pass, see what changes")
    live.add_argument("world", nargs="?", choices=WORLDS, default="home", help="default %(default)s")
    live.set_defaults(run=_world_live)
    play = actions.add_parser("play", help="play an episode by hand: see the prompt, type calls or an answer")
    play.add_argument("environment", nargs="?", default="home", help="which environment (default %(default)s)")
    play.add_argument("--split", choices=("train", "eval"), default="eval", help="default %(default)s")
    play.add_argument("--seed", type=int, default=0, help="which task (default %(default)s)")
    play.add_argument("--log", metavar="FILE", help="append the episode to this log")
    play.add_argument("--json", action="store_true", help="print nothing but the finished episode, as JSON")
    play.set_defaults(run=_world_play)
    again = actions.add_parser("replay", help="show logged episodes and play them again; 1 if anything differs")
    again.add_argument("file", help="log of episodes")
    again.add_argument("--json", action="store_true", help="one JSON line for each episode")
    again.set_defaults(run=_world_replay)


def _add_quantize(commands: Any) -> None:
    parser = commands.add_parser("quantize", help="write a smaller copy of a checkpoint")
    parser.add_argument("source", help="checkpoint folder")
    parser.add_argument("target", help="new folder")
    parser.add_argument("--weights", choices=("q8", "q4"), default="q8", help="bits of a weight (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_quantize)


def _add_train(commands: Any) -> None:
    parser = commands.add_parser("train", help="pre-train a model, fine-tune it, reward it, or plot a run")
    parser.add_argument("stage", choices=("pretrain", "sft", "rl", "mopd", "report"), help="what to do")
    parser.add_argument("target", help="a recipe (.py); for sft also a checkpoint folder; for report a run folder")
    parser.add_argument("--data", help="JSONL file of conversations, to fine-tune a checkpoint folder on")
    parser.add_argument("--out", help="folder of the run (default: runs/ and the target's name)")
    parser.add_argument("--steps", type=int, help="optimiser steps (default: what the recipe says, or three epochs)")
    parser.add_argument("--lr", type=float, help="peak learning rate, with --data (default 3e-4)")
    parser.add_argument("--bad-lines", choices=("stop", "skip"), help="with --data: unusable lines (default stop)")
    parser.add_argument("--allow-changes", action="store_true", help="resume although settings differ from the saved")
    parser.add_argument("--ray", metavar="ADDRESS", help="for rl and mopd: a Ray cluster: auto, local or HOST:PORT")
    parser.add_argument("--json", action="store_true", help="print a summary as JSON at the end")
    parser.set_defaults(run=_train)


def _engine_options(parser: argparse.ArgumentParser, mtp: str = "auto") -> None:
    parser.add_argument("folder", nargs="?", help="checkpoint folder (default: the model in the package)")
    parser.add_argument("--weights", choices=("f32", "bf16", "q8", "q4"), help="weight format (default: as stored)")
    parser.add_argument("--kv", choices=("f32", "bf16", "int8"), help="cache format (default: as the weights ask)")
    parser.add_argument("--threads", type=int, help="worker threads (default: the cores this process may use)")
    parser.add_argument("--mtp", default=mtp, help="drafts a step: auto, off, all or 1..3 (default %(default)s)")


def _sampling_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default %(default)s)")
    parser.add_argument("--top-p", type=float, default=1.0, help="default %(default)s")
    parser.add_argument("--top-k", type=int, default=0, help="0 keeps all (default %(default)s)")
    parser.add_argument("--min-p", type=float, default=0.0, help="default %(default)s")
    parser.add_argument("--repetition-penalty", type=float, default=1.0, help="1 changes nothing (default %(default)s)")
    parser.add_argument("--presence-penalty", type=float, default=0.0, help="default %(default)s")
    parser.add_argument("--frequency-penalty", type=float, default=0.0, help="default %(default)s")
    parser.add_argument("--logit-bias", action="append", metavar="ID=VALUE", help="add to a token's logit; repeatable")
    parser.add_argument("--stop", action="append", metavar="TEXT", help="end the text here; repeatable")
    parser.add_argument("--seed", type=int, help="makes sampling repeatable")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="default %(default)s")


def _load(args: argparse.Namespace) -> Any:
    import openmimo

    mtp = int(args.mtp) if args.mtp.isdigit() else args.mtp
    if mtp == "all":
        from openmimo.checkpoint import Checkpoint, default_model_path

        mtp = Checkpoint.open(args.folder or default_model_path()).config.num_mtp_layers or "off"
    return openmimo.load(args.folder, weights=args.weights, threads=args.threads, kv=args.kv, mtp=mtp)


def _params(args: argparse.Namespace) -> Any:
    from openmimo.engine.params import SamplingParams

    return SamplingParams(
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
        presence_penalty=args.presence_penalty,
        frequency_penalty=args.frequency_penalty,
        logit_bias=_biases(args.logit_bias or ()),
        stop=tuple(args.stop or ()),
        seed=args.seed,
        max_new_tokens=args.max_new_tokens,
        logprobs=getattr(args, "logprobs", 0),
    )


def _biases(words: Sequence[str]) -> dict[int, float]:
    try:
        return {int(token): float(value) for token, value in (word.split("=") for word in words)}
    except ValueError:
        message = f"--logit-bias {' '.join(words)} must be a token id, an equals sign and a number: 42=-1.5"
        raise RequestError(message, param="logit_bias") from None


def _serve(args: argparse.Namespace) -> None:
    from openmimo.environments import LIVE_WORLDS
    from openmimo.server.launcher import serve

    engine = _load(args)
    serve(engine, [make() for make in LIVE_WORLDS.values()], args.host, args.port, args.api_key)


def _chat(args: argparse.Namespace) -> None:
    from openmimo.environments import LIVE_WORLDS
    from openmimo.terminal import chat, chat_lines

    world = LIVE_WORLDS[args.world]()
    world.follow()
    talk = chat_lines if args.json else chat
    talk(_load(args), world, _params(args))


def _generate(args: argparse.Namespace) -> None:
    prompt = _ids(args.ids) if args.ids else args.prompt or sys.stdin.read()
    params = _params(args)
    with _load(args) as engine:
        completion = engine.generate(prompt, params)
        if args.json:
            from dataclasses import asdict

            print(json.dumps(asdict(completion)))
        else:
            print(completion.text if engine.tokenizer else " ".join(map(str, completion.token_ids)))


def _ids(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise RequestError(f"--ids {text} must be token ids separated by commas: 1,2,3", param="ids") from None


def _show(args: argparse.Namespace) -> None:
    from openmimo.checkpoint import default_model_path
    from openmimo.show import describe, format_description

    description = describe(args.folder or default_model_path())
    print(json.dumps(description) if args.json else format_description(description))


def _bench(args: argparse.Namespace) -> None:
    from openmimo.bench import Load, format_result, measure

    load = Load(args.prompt_tokens, args.new_tokens, args.batch, args.context, args.repeats)
    with _load(args) as engine:
        result = measure(engine, load)
    print(json.dumps(result) if args.json else format_result(result))


def _doctor(args: argparse.Namespace) -> int:
    from openmimo.doctor import as_data, diagnose, format_findings

    findings = diagnose(args.folder)
    print(json.dumps(as_data(findings)) if args.json else format_findings(findings))
    return int(any(finding.is_wrong for finding in findings))


def _eval(args: argparse.Namespace) -> None:
    from openmimo.evals import format_scores, pick_suites, score_suite

    suites, boards, log = pick_suites(args.suite), {}, Path(args.log) if args.log else None
    with _load(args) as engine:
        for suite in suites:
            boards[suite] = score_suite(engine, suite, args.n, args.seed, args.samples, log)
            if not args.json:
                print(format_scores(boards[suite]), end="\n\n", flush=True)
                _print_wrong(boards[suite], args.wrong)
    if args.json:
        print(json.dumps({suite: board.as_data() for suite, board in boards.items()}))


def _print_wrong(board: "Scoreboard", limit: int) -> None:
    for name, column in board.columns.items():
        for kind, cell in column.scores.items():
            for played in cell.wrong[:limit] if kind != "all" else ():
                gold = (message for message in played.task.gold if message.role == "assistant")
                print(f"[{name} / {kind}] {played.task.request}")
                print("  wanted:", *gold, sep="\n    ")
                print("  wrote:", *played.replies, sep="\n    ", end="\n\n")


def _world_day(args: argparse.Namespace) -> None:
    from openmimo.play import day_as_data, format_day

    day = day_as_data(args.seed)
    print(json.dumps(day, ensure_ascii=False) if args.json else format_day(day))


def _world_live(args: argparse.Namespace) -> None:
    from openmimo.environments import LIVE_WORLDS
    from openmimo.play import act_by_hand

    act_by_hand(LIVE_WORLDS[args.world]())


def _world_play(args: argparse.Namespace) -> None:
    from openmimo.play import play_by_hand

    play_by_hand(args.environment, args.split, args.seed, Path(args.log) if args.log else None, args.json)


def _world_replay(args: argparse.Namespace) -> int:
    from openmimo.play import replay_log

    return int(not replay_log(Path(args.file), args.json))


def _quantize(args: argparse.Namespace) -> None:
    from openmimo.quantize import quantize_folder

    try:
        sizes = quantize_folder(Path(args.source), Path(args.target), args.weights)
    except OSError as error:
        raise OpenMiMoError(f"{args.target} was not written, nothing is left of it: {error}") from error
    line = f"{args.target}: {sizes['to_bytes'] / 1e6:,.1f} MB of weights, from {sizes['from_bytes'] / 1e6:,.1f} MB"
    print(json.dumps({"target": args.target, "weights": args.weights, **sizes}) if args.json else line)


def _train(args: argparse.Namespace) -> None:
    _require("torch", "training", "train")
    from openmimo.train.command import TrainRequest, run_command

    request = TrainRequest(
        args.stage,
        Path(args.target),
        Path(args.data) if args.data else None,
        Path(args.out) if args.out else None,
        args.steps,
        args.lr,
        args.bad_lines,
        args.allow_changes,
    )
    with _cluster(args.ray, args.stage) if args.ray else nullcontext():
        summary = run_command(request)
    if summary is not None:
        print(json.dumps(summary) if args.json else summary["checkpoint"] or summary["report"])


@contextmanager
def _cluster(address: str, stage: str) -> Iterator[None]:
    if stage not in ("rl", "mopd"):
        raise ConfigError(f"--ray goes with rl and mopd, which have work for others; {stage} has none")
    _require("ray", "--ray", "ray")
    from openmimo.cluster.cluster import RayCluster
    from openmimo.train.workplace import work_at

    with RayCluster(address) as cluster, work_at(cluster):
        yield


def _require(package: str, what: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigError(f"{what} needs {package}, which is not installed: pip install 'openmimo[{extra}]'")
