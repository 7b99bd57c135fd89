"""Who owns what, who runs when, and how many drafts: the parts below the engine, and the engine under random use."""

import threading

import pytest
from engine_backend import FakeBackend

from openmimo.engine import Engine, SamplingParams
from openmimo.errors import CapacityError

ONE_TOKEN = SamplingParams(max_new_tokens=1)


class HeldBackend(FakeBackend):
    """A forward pass that does not end until it is let go: whoever comes meanwhile has to wait."""

    def __init__(self):
        super().__init__(num_slots=1)
        self.has_begun, self.may_go = threading.Event(), threading.Event()

    def forward(self, *args, **kwargs):
        self.has_begun.set()
        self.may_go.wait()
        return super().forward(*args, **kwargs)


def test_a_full_waiting_line_is_an_error_of_its_own():
    backend = HeldBackend()
    with Engine(backend) as engine:
        try:
            handles = [engine.submit([1], ONE_TOKEN)]
            assert backend.has_begun.wait(60)
            handles += [engine.submit([1], ONE_TOKEN) for _ in range(1024)]
            with pytest.raises(CapacityError, match="1024 requests are waiting"):
                engine.submit([1], ONE_TOKEN)
        finally:
            backend.may_go.set()
        assert all(len(handle.result().token_ids) == 1 for handle in handles)
