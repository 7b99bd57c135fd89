"""One call drafts with all heads, from what the engine saved; the plain twin scores each head over the whole text."""

import numpy as np
import pytest
from native_cases import FLASH, SEVEN, Driver, long_tokens, open_backend


def plain_drafts(name: str, tokens: list[int], num: int, num_ids: int) -> list[int]:
    """Drafts behind known tokens, by a back end that has seen nothing else."""
    backend = open_backend(name)
    driver, drafts = Driver(backend), []
    hidden = driver.feed({0: tokens[:-1]})[0][1]
    for head in range(num):
        rows = (tokens + drafts)[1 + head :]
        batch = driver.batch({0: rows}, first={0: 0}, wanted=[len(rows) - 1])
        logits = backend.head_logits(head, batch, hidden, np.array([0], np.int32))
        drafts.append(int(logits[0, :num_ids].argmax()))
    return drafts


def draft(driver: Driver, last: dict[int, int], counts: list[int]) -> list[list[int]]:
    drafts = driver.backend.draft(driver.batch({s: [token] for s, token in last.items()}), np.array(counts, np.int32))
    return [row[:count] for row, count in zip(drafts.tolist(), counts, strict=True)]


@pytest.mark.parametrize(("name", "num"), [(FLASH, 3), (SEVEN, 1)])
def test_drafts_are_those_of_heads_that_read_the_whole_text(name, num):
    backend = open_backend(name)
    backend.start(300, num)
    driver, tokens = Driver(backend), long_tokens(400)
    # Rows fed and kept before a draft: a prompt in chunks, single steps, rejected rows, and a long time without drafts.
    steps = [(1, 1, True), (60, 60, False), (5, 5, True), (1, 1, True), (4, 2, True), (4, 4, True), (4, 1, True)]
    steps += [(1, 1, False)] * 20 + [(1, 1, True), (3, 2, True), (2, 2, False), (64, 64, True), (70, 66, True)]
    end = 0
    for num_rows, num_kept, is_drafting in steps:
        driver.feed({2: tokens[end : end + num_rows]}, keep={2: num_kept})
        end += num_kept
        if is_drafting:
            expected = plain_drafts(name, tokens[: end + 1], num, 300)
            assert draft(driver, {2: tokens[end]}, [num]) == [expected]
    assert end > 200


def test_sequences_draft_together_as_they_do_alone_each_its_own_number():
    backend = open_backend(FLASH)
    backend.start(320, 3)
    texts = {0: long_tokens(40, seed=5), 3: long_tokens(9, seed=6), 1: long_tokens(80, seed=7)}
    driver = Driver(backend)
    for part in range(2):
        driver.feed({s: text[len(text) // 2 * part : len(text) // 2 * (part + 1)] for s, text in texts.items()})
        known = {s: text[: driver.length[s] + 1] for s, text in texts.items() if driver.length[s] < len(text)}
        counts = [3, 1, 2][: len(known)]
        got = draft(driver, {s: text[-1] for s, text in known.items()}, counts)
        assert got == [plain_drafts(FLASH, text, c, 320) for text, c in zip(known.values(), counts, strict=True)]


def test_heads_without_a_window_catch_up_while_nothing_is_drafted():
    backend = open_backend(SEVEN)
    backend.start(320, 1)
    driver, tokens = Driver(backend), long_tokens(501)
    for end in (200, 300, 499, 500):
        driver.feed({0: tokens[driver.length.get(0, 0) : end]})
    assert draft(driver, {0: tokens[500]}, [1]) == [plain_drafts(SEVEN, tokens, 1, 320)]


def test_a_slot_that_is_used_again_starts_afresh():
    backend = open_backend(FLASH)
    backend.start(320, 3)
    for seed in range(3):
        tokens = long_tokens(30 + seed, seed=seed)
        driver = Driver(backend)
        driver.feed({0: tokens[:-1]})
        assert draft(driver, {0: tokens[-1]}, [3]) == [plain_drafts(FLASH, tokens, 3, 320)]


@pytest.mark.parametrize("num_ids", [7, 64, 100, 320])
def test_best_ids_are_the_lowest_of_the_highest_allowed_logits(num_ids):
    backend = open_backend(FLASH)
    backend.start(num_ids, 0)
    batch = Driver(backend).batch({0: long_tokens(50)})
    result = backend.forward(batch)
    np.testing.assert_array_equal(result.best_B, result.logits_BV[:, :num_ids].argmax(axis=1))
