"""Players, teachers and tools on a local Ray cluster: what they give is what one process gives, whoever is killed."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import drills
import pytest
import ray
import torch

from openmimo.cli import main
from openmimo.cluster import cluster as cluster_module
from openmimo.cluster import players as players_module
from openmimo.cluster.actors import here
from openmimo.cluster.cluster import RayCluster, Sizes
from openmimo.cluster.players import RayPlayers
from openmimo.cluster.toolbox import JudgedElsewhere, Toolbox
from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.environments.programs import ProgramsEnvironment
from openmimo.environments.programs.environment import WritingTask
from openmimo.errors import ConfigError, TrainingError
from openmimo.messages import Message
from openmimo.model.model import published_tensors
from openmimo.train.command import TrainRequest, run_command
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.log import read_metrics
from openmimo.train.loss import LossWeights
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.rollout import Rollout, roll_out
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import TrainConfig
from openmimo.train.workplace import ThisProcess, play_all, work_at
from tests.torch.cluster_worlds import Locked, Odd, Troubled
from tests.torch.drill_model import save, tiny_model
from tests.torch.two_processes import RECIPE as BOTH
from tests.torch.two_processes import together

PARAMS = SamplingParams(max_new_tokens=6, seed=3, routes=True)
TIMEOUT_S = 4.0
WORLD = Odd()
OPTIM = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    torch.set_num_threads(1)
    sizes = Sizes(players=2, tools=1, tool_timeout_s=TIMEOUT_S)
    with pytest.MonkeyPatch.context() as patch, RayCluster("local", sizes) as cluster:
        patch.setenv("RAY_agent_register_timeout_ms", "100000")  # a busy machine is no broken one
        cluster.join()
        yield cluster


@pytest.fixture
def toolbox(cluster: RayCluster) -> Toolbox:
    return cluster.join()


def small_plan() -> EnginePlan:
    """Fewer slots than there are episodes, so that some wait while others run."""
    return EnginePlan(dict(tiny_model().config.published), drills.text_files(), slots=4)


def problems(count: int):
    return [(WORLD, task) for task in WORLD.tasks("train", 5, count)]


def told(groups: list[list[Rollout]]) -> list:
    """Everything that is trained on."""
    assert all(one.routes_TLK is not None for group in groups for one in group)
    return [
        (one.task_id, one.ids, one.is_own, one.logprobs, one.reward, one.is_truncated, one.routes_TLK.tolist())  # type: ignore[union-attr]
        for group in groups
        for one in group
    ]


def kill_in_the_middle(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """A player is killed once so many episodes have ended, while others run."""
    count, usual = iter(range(10_000)), RayPlayers.next_finished

    def next_finished(self: RayPlayers):
        if next(count) == after:
            ray.kill(self.actors[0])
        return usual(self)

    monkeypatch.setattr(RayPlayers, "next_finished", next_finished)


def test_rollouts_are_those_of_one_process_though_a_player_is_killed(cluster, monkeypatch):
    first, second = (published_tensors(tiny_model(seed)) for seed in (0, 1))
    kill_in_the_middle(monkeypatch, 3)
    tasks, found = problems(8), []
    for place in (ThisProcess(), cluster):
        with place.open_players(small_plan(), first) as players:
            before = told(play_all(players, tasks, 4, PARAMS))
            players.update(second)  # also to the player that has taken over
            found.append((before, told(play_all(players, tasks, 4, PARAMS))))
            deaths = getattr(players, "deaths", 0)
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]
    assert deaths == 1


def test_a_player_that_hangs_is_replaced(cluster, monkeypatch, capsys):
    """Stopped, it neither answers nor dies."""
    monkeypatch.setattr(cluster, "_sizes", replace(cluster._sizes, player_timeout_s=TIMEOUT_S))
    usual, stopped = RayPlayers.next_finished, []

    def next_finished(self: RayPlayers):
        finished = usual(self)
        if not stopped:
            stopped.append(pid_of("ray::Player"))
            os.kill(stopped[0], signal.SIGSTOP)
        return finished

    tasks, tensors = problems(8), published_tensors(tiny_model())
    with ThisProcess().open_players(small_plan(), tensors) as players:
        here = told(play_all(players, tasks, 4, PARAMS))
    monkeypatch.setattr(RayPlayers, "next_finished", next_finished)
    with cluster.open_players(small_plan(), tensors) as players:
        assert told(play_all(players, tasks, 4, PARAMS)) == here
        assert players.deaths == 1
    assert "finished no episode for 4 s" in capsys.readouterr().err


def pid_of(title: str) -> int:
    found = [path for path in Path("/proc").glob("[0-9]*/cmdline") if path.read_bytes().startswith(title.encode())]
    return int(found[0].parent.name)


def what_became(folder: Path, *names: str) -> tuple[bytes, list]:
    """The last weights and some curves of a run."""
    records = read_metrics(folder.parent / "metrics.jsonl")
    return (folder / "model.safetensors").read_bytes(), [[record.get(name) for name in names] for record in records]


RECIPE = """
import drills
from openmimo.train.optim import OptimConfig
from openmimo.train.rl import RLConfig, train_rl
from tests.torch.cluster_worlds import Odd
from tests.torch.drill_model import tiny_model

class Even(Odd):
    name = "even"
    def score(self, task, content):
        return 1.0 - super().score(task, content)

def rl(run):
    optim = OptimConfig(lr=3e-3, weight_decay=0.0, warmup=0.0, decay=0.0)
    config = run.config(3, bf16=False, balance_speed=1e-3, optim=optim)
    settings = RLConfig(groups=3, samples=4, max_new_tokens=3, eval_tasks=4, slots=8, max_kl=9.0, max_fall=1.0)
    return train_rl(tiny_model(), config, settings, {"even": Even()}, drills.text_files())
"""


def test_an_rl_run_is_that_of_one_process_though_a_player_is_killed(cluster, tmp_path, monkeypatch):
    """The environment stands in the recipe itself, which no actor imports."""
    recipe, results = tmp_path / "even.py", []
    recipe.write_text(RECIPE)
    kill_in_the_middle(monkeypatch, 20)
    for name, place in (("here", nullcontext()), ("there", work_at(cluster))):
        with place:
            summary = run_command(TrainRequest("rl", recipe, out=tmp_path / name))
        assert summary is not None
        results.append(what_became(Path(summary["checkpoint"]), "loss", "reward", "solved", "valid", "kl"))
    assert results[0] == results[1]
    assert any(record[1] for record in results[0][1])


def test_distillation_is_that_of_one_process_though_a_teacher_is_killed(cluster, tmp_path):
    student, teacher = (save(tiny_model(seed), tmp_path / str(seed)) for seed in (0, 1))
    killed = []

    def draw(step: int):
        if cluster.scorers is not None and step == 1 and not killed:
            killed.append(cluster.scorers)
            ray.kill(cluster.scorers.workers[teacher][0].actor)
        return {
            name: [(WORLD, task) for task in WORLD.tasks("train", seed, 4)] for seed, name in enumerate(names, step)
        }

    names = ("taught", "own")

    def score(engine: Engine, _: int) -> dict[str, list[int]]:
        return {"ids": roll_out(engine, problems(1), 1, PARAMS)[0][0].ids}

    practice = Practice(draw, params=SamplingParams(max_new_tokens=4), slots=8, part_tokens=64)
    results = []
    for name, place in (("here", nullcontext()), ("there", work_at(cluster))):
        config = TrainConfig(str(tmp_path / name), 2, optim=OPTIM, weights=LossWeights(mtp=0.3), bf16=False)
        with place:
            folder = distil(student, Teachers({"taught": teacher, "own": SELF}, student), practice, config, score, 1)
        results.append(what_became(folder, "loss", "kl by domain", "reward", "ids"))
    assert results[0] == results[1]
    assert killed[0].deaths == 1


@pytest.mark.timeout(300)
def test_two_learners_distil_as_they_do_without_a_cluster(cluster, tmp_path):
    recipe = tmp_path / "both.py"
    recipe.write_text(BOTH)
    for seed, name in enumerate(("student", "teacher")):
        save(tiny_model(seed), tmp_path / name)
    address = ray.get_runtime_context().gcs_address
    here, there = (
        what_became(together(recipe, "mopd", *options, folder=str(len(options))), "loss", "kl by domain", "reward")
        for options in ((), ("--ray", address))
    )
    assert here == there
    assert here[1][0][0] > 0


def test_a_judge_that_hangs_and_one_that_dies_are_replaced(toolbox, tmp_path):
    world = Troubled(tmp_path)
    (task,) = world.tasks("train", 0, 1)
    episode = JudgedElsewhere(world, toolbox.place_of(world)).start(task)
    assert episode.step(Message("assistant", "a")) == []
    assert episode.reward() == 1.0  # ord("a") is 97
    assert toolbox.restarts == 2


def test_programs_are_judged_in_a_sandbox_elsewhere(toolbox):
    world = ProgramsEnvironment()
    task = next(task for task in world.tasks("train", 0, 100) if isinstance(task, WritingTask))
    judge = JudgedElsewhere(world, toolbox.place_of(world))
    for reply, reward in ((task.gold[0], 1.0), (Message("assistant", "undefined"), 0.0)):
        episode = judge.start(task)
        assert episode.step(reply) == []
        assert (episode.reward(), episode.passed) == (reward, (reward == 1.0,) * len(task.tests))


def test_a_run_is_given_up_when_players_only_die(cluster, monkeypatch):
    monkeypatch.setattr(players_module, "MAX_DEATHS", 0)
    kill_in_the_middle(monkeypatch, 0)
    with (
        RayPlayers(small_plan(), published_tensors(tiny_model()), [here()], cluster.join(), 60.0) as players,
        pytest.raises(TrainingError, match="1 players died and no episode was finished"),
    ):
        play_all(players, problems(1), 1, PARAMS)


def test_what_cannot_work_is_refused(toolbox, tmp_path, capsys, monkeypatch):
    with pytest.raises(ConfigError, match=r"'odd' cannot work elsewhere.*such as a lock"):
        toolbox.place_of(Locked(threading.Lock()))
    assert main(["train", "sft", str(tmp_path), "--ray", "auto"]) == 2
    assert "--ray goes with rl and mopd" in capsys.readouterr().err
    monkeypatch.setattr(cluster_module, "rank_and_world", lambda: (0, 2))
    with pytest.raises(ConfigError, match="share a cluster that runs already"):
        RayCluster("local").open_scorers(Teachers({}, tmp_path)).__enter__()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else object())
    assert main(["train", "rl", str(Path("recipes/toy.py")), "--ray", "auto"]) == 2
    assert "pip install 'openmimo[ray]'" in capsys.readouterr().err
