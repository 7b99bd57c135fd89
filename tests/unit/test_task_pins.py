"""Which tasks a seed draws: a change here makes scores of before and after incomparable."""

import zlib

import pytest

from openmimo.environments import environment_names, make_environment

PINNED = {
    "car": 0xD0EDE228, "energy": 0xE41EDCF1, "home": 0xFBD788CF, "maths": 0xECCA2CF0, "programs": 0xDF8F1090,
    "recall": 0x9BAA65BD,
}  # fmt: skip


@pytest.mark.parametrize("name", environment_names())
def test_a_seed_draws_the_tasks_that_it_always_drew(name):
    environment = make_environment(name)
    ids = [task.id for split in ("train", "eval") for task in environment.tasks(split, 7, 24)]
    assert zlib.crc32("\n".join(ids).encode()) == PINNED[name]
