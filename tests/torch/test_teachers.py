"""Teachers: our own checkpoints in process, several or one at a time, and a server of prompt log-probabilities."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from openmimo.checkpoint import save_checkpoint
from openmimo.config import parse_config
from openmimo.errors import ConfigError, TrainingError
from openmimo.model.model import MiMo, new_model, published_tensors
from openmimo.train import teachers as module
from openmimo.train.merge import add_tasks, average
from openmimo.train.policy import pack_rollouts
from openmimo.train.rollout import Rollout
from openmimo.train.teachers import SELF, ServerTeacher, Teachers, read_logits
from tests.torch.test_model import SMALL


def model(seed: int) -> MiMo:
    made = new_model(parse_config(SMALL), seed)
    with torch.no_grad():  # blocks begin as the identity
        for name, parameter in made.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj", "down_proj.weight")):
                parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed))
    return made


@pytest.fixture
def folders(tmp_path):
    for seed in (0, 1, 2):
        save_checkpoint(tmp_path / str(seed), SMALL, dict(published_tensors(model(seed))))
    return tmp_path


def rollout(ids: list[int], prompt: int = 4) -> Rollout:
    """One turn after a prompt of 4 tokens."""
    own = [place >= prompt for place in range(len(ids))]
    return Rollout("sums", "", "1", ids, own, [-1.0 * o for o in own], None, 1.0, False, prompt)


BATCH = pack_rollouts([[rollout([3, 4, 5, 6, 7, 8]), rollout([3, 4, 5, 6, 9])]], pad_id=0, multiple=2)


def test_several_models_and_one_rotated_say_the_same(folders):
    named = {"sums": folders / "1", "home": folders / "2", "chat": SELF}
    several, rotated = Teachers(named, folders / "0"), Teachers(named, folders / "0", is_rotated=True)
    for domain, seed in [("sums", 1), ("home", 2), ("chat", 0), ("sums", 1)]:
        logits_RV = several.logits(domain, BATCH)
        assert torch.equal(logits_RV, rotated.logits(domain, BATCH))
        assert torch.equal(logits_RV, read_logits(model(seed), BATCH))
        assert not logits_RV.requires_grad
    assert several.model("sums") is several.model("sums")
    assert len(several._models) == 3
    assert len(rotated._models) == 1
    with pytest.raises(ConfigError, match="no checkpoint is named to teach 'car'"):
        several.model("car")


def test_a_teacher_equal_to_the_student_gives_no_advantage_at_any_token(folders):
    """Same path, same kernels: the difference is not small but zero."""
    student = model(0).train()
    assert torch.equal(read_logits(student, BATCH), Teachers({"a": SELF}, folders / "0").logits("a", BATCH))
    assert student.training


def test_averages_and_tasks_are_added_weight_by_weight():
    base, one, two = model(0), model(1), model(2)
    name = "model.layers.1.mlp.gate_proj"
    w, a, b = (m.state_dict()[name] for m in (base, one, two))
    assert torch.allclose(average([one, two]).state_dict()[name], (a + b) / 2)
    assert torch.allclose(add_tasks(base, [one, two], 0.25).state_dict()[name], w / 2 + (a + b) / 4, atol=1e-6)
    assert torch.allclose(add_tasks(base, [one]).state_dict()[name], a, atol=1e-6)
    with pytest.raises(ConfigError, match=r"model 1 differs from the first in lm_head\.weight"):
        average([base, new_model(parse_config({**SMALL, "vocab_size": 51}), 0)])
    with pytest.raises(ConfigError, match="at least one"):
        average([])


class Peer(BaseHTTPRequestHandler):
    """A completions API of the kind that other engines serve: log-probability of token i is -i / 10."""

    answers: list[tuple[int, dict]]
    seen: list[dict]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        ids = [*body["prompt"], 7]  # one token is written, because some servers write at least one
        logprobs = {"tokens": [f"t{i}" for i in ids], "token_logprobs": [None, *[-i / 10 for i in ids[1:]]]}
        code, answer = self.answers.pop(0) if self.answers else (200, {"choices": [{"logprobs": logprobs}]})
        data = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data) + 9 * ("dies" in answer)))
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.seen.append({"path": self.path, "key": self.headers.get("Authorization"), "prompt": []})
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def peer(monkeypatch) -> Iterator[tuple[str, type[Peer]]]:
    monkeypatch.setattr(module, "BACKOFF_S", 0.001)
    handler = type("Handler", (Peer,), {"answers": [], "seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_scores_what_it_did_not_write(peer):
    url, handler = peer
    teacher = ServerTeacher(url, "big", api_key="secret")
    assert teacher.logprobs([[5, 6, 7], [8, 9]]) == [[0.0, -0.6, -0.7], [0.0, -0.9]]
    assert teacher.vocabulary([5, 6]) == ["t5", "t6"]
    assert teacher.own_logprobs([rollout([5, 6, 7, 8, 9])]).tolist() == pytest.approx([-0.9])
    asked = next(body for body in handler.seen if body["prompt"] == [8, 9])
    assert (asked["path"], asked["key"], asked["model"]) == ("/v1/completions", "Bearer secret", "big")
    assert (asked["echo"], asked["logprobs"], asked["max_tokens"]) == (True, 1, 1)


def test_a_busy_server_is_asked_again_and_a_useless_one_is_named(peer):
    url, handler = peer
    teacher = ServerTeacher(url, "big")
    handler.answers[:] = [(503, {}), (429, {})]
    assert teacher.logprobs([[5, 6]]) == [[0.0, -0.6]]
    handler.answers[:] = [(200, {"dies": "before its answer is whole"})]
    assert teacher.logprobs([[5, 6]]) == [[0.0, -0.6]]
    handler.answers[:] = [(503, {})] * 4
    with pytest.raises(TrainingError, match=r"cannot be used after 4 attempts: HTTP Error 503"):
        teacher.logprobs([[5, 6]])
    handler.answers[:] = [(400, {"error": "echo is not supported"})]
    with pytest.raises(TrainingError, match=r"answers 400: .*echo is not supported"):
        teacher.logprobs([[5, 6]])
    for found in (
        {},
        {"token_logprobs": [None], "tokens": ["a"]},
        {"token_logprobs": [None, None], "tokens": ["a", "b"]},
        {"token_logprobs": [None, float("nan")], "tokens": ["a", "b"]},
        {"token_logprobs": [None, 0.5], "tokens": ["a", "b"]},
    ):
        handler.answers[:] = [(200, {"choices": [{"logprobs": found}]})]
        with pytest.raises(TrainingError, match="gives no log-probabilities of prompts"):
            teacher.logprobs([[5, 6]])
    handler.answers[:] = [(302, {})]
    with pytest.raises(TrainingError, match="answers 404"):
        ServerTeacher(url, "big", api_key="secret").logprobs([[5, 6]])
    assert (handler.seen[-1]["path"], handler.seen[-1]["key"]) == ("/elsewhere", None)
    with pytest.raises(ConfigError, match="must begin with http"):
        ServerTeacher("file:///etc/passwd", "big")
