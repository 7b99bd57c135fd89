"""Who owns what, who runs when, and how many drafts: the parts below the engine, and the engine under random use."""

import threading

import pytest
from engine_backend import FakeBackend

from openmimo.engine import Engine, SamplingParams
from openmimo.errors import CapacityError


class HeldBackend(FakeBackend):
    """A forward pass that does not end until it is let go: whoever comes meanwhile has to wait."""

    def __init__(self):
        super().__init__(num_slots=1)
        self.may_go = threading.Event()

    def forward(self, *args, **kwargs):
        self.may_go.wait()
        return super().forward(*args, **kwargs)


def test_a_full_waiting_line_is_an_error_of_its_own():
    backend, handles = HeldBackend(), []
    with Engine(backend) as engine:
        try:
            with pytest.raises(CapacityError, match="1024 requests are waiting"):
                while len(handles) <= 1025:
                    handles.append(engine.submit([1], SamplingParams(max_new_tokens=1)))
        finally:
            backend.may_go.set()
        assert len(handles) in (1024, 1025)  # the first one waits with the others until the engine takes it up
        assert all(len(handle.result().token_ids) == 1 for handle in handles)
