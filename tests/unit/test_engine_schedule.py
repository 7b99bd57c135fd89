"""Who owns what, who runs when, and how many drafts: the parts below the engine, and the engine under random use."""

import pytest
from engine_backend import FakeBackend

from openmimo.engine import Engine, SamplingParams
from openmimo.errors import CapacityError


def test_a_full_waiting_line_is_an_error_of_its_own():
    with Engine(FakeBackend(num_slots=1)) as engine:
        stream = engine.stream([1], SamplingParams(max_new_tokens=1000, ignore_eos=True))
        next(stream)
        for _ in range(1024):
            engine.submit([1])
        with pytest.raises(CapacityError, match="1024 requests are waiting"):
            engine.submit([1])
