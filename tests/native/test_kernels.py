"""Each hot kernel of each instruction set against plain numpy in float64, or against numbers worked out by hand."""

import ml_dtypes
import numpy as np
import pytest
from native_cases import ISAS

from openmimo import _native

kernels = _native._testing
RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def matmul(isa: str, kind: str, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.zeros((len(x), len(w)), np.float32)
    kernels.matmul(isa, kind, x, w, y)
    return y


def numbers(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What codes with one scale for 32 of them stand for."""
    return codes * np.repeat(scales, 32, axis=1)[:, : codes.shape[1]]


def rounded_q8(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The twin of the q8 rule: the largest of 32 becomes code 127 or -127, with its scale rounded to bf16 first."""
    groups = np.pad(w, ((0, 0), (0, -w.shape[1] % 32))).reshape(len(w), -1, 32)
    scales = (np.abs(groups).max(axis=2) / 127).astype(ml_dtypes.bfloat16).astype(np.float32)
    codes = np.clip(np.rint(groups / np.where(scales > 0, scales, 1)[..., None]), -127, 127).astype(np.int8)
    return codes.reshape(len(w), -1)[:, : w.shape[1]], scales


def rounded_q4(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The twin of the q4 rule: of eight scales, top / -7 to top / -8.75, the first with the least squared error."""
    groups = np.pad(w, ((0, 0), (0, -w.shape[1] % 32))).reshape(len(w), -1, 32)
    tops = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[..., None], axis=2)
    best = np.full_like(tops, np.inf)
    codes, scales = np.zeros_like(groups), np.zeros_like(tops)
    for divisor in np.arange(7, 9, 0.25):
        scale = (tops * np.float32(-1 / divisor)).astype(ml_dtypes.bfloat16).astype(np.float32)
        steps = groups * np.where(scale != 0, np.float32(1) / np.where(scale != 0, scale, 1), 0)
        rounded = np.clip(np.rint(steps), -8, 7)
        squares = (rounded * scale - groups) ** 2
        error = np.zeros_like(tops)
        for half in (0, 1):  # summed in the engine's order: even inputs, then odd ones
            total = np.zeros_like(tops)
            for i in range(half, 32, 2):
                total += squares[..., i : i + 1]
            error += total
        better = error < best
        best, codes, scales = (np.where(better, a, b) for a, b in ((error, best), (rounded, codes), (scale, scales)))
    return codes.reshape(len(w), -1)[:, : w.shape[1]].astype(np.int8), scales[..., 0]


def quantised(x: np.ndarray) -> np.ndarray:
    """Activations as the q8 and q4 kernels see them: per 32 values one float32 scale of largest / 127."""
    groups = np.pad(x, ((0, 0), (0, -x.shape[1] % 32))).reshape(len(x), -1, 32)
    scale = np.abs(groups).max(axis=2, keepdims=True) / np.float32(127)
    codes = np.rint(groups * (np.float32(1) / np.where(scale > 0, scale, 1)))
    return (codes * scale).reshape(len(x), -1)[:, : x.shape[1]]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 13])
@pytest.mark.parametrize(("ins", "outs"), [(64, 64), (136, 80), (48, 7), (33, 130)])
def test_matmul_matches_numpy(isa, rows, ins, outs):
    x, w = random(rows, ins), random(outs, ins)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    np.testing.assert_allclose(matmul(isa, "f32", x, w), exact, rtol=0, atol=1e-4)
    rounded = w.astype(ml_dtypes.bfloat16).astype(np.float64)
    np.testing.assert_allclose(matmul(isa, "bf16", x, w), x @ rounded.T, rtol=0, atol=1e-4)
    # 127 / largest is rounded before it is used, so a value between two codes may fall on the other side.
    for kind, weights in (("q8", numbers(*rounded_q8(w))), ("q4", numbers(*rounded_q4(w)))):
        near = quantised(x) @ weights.T.astype(np.float64)
        np.testing.assert_allclose(matmul(isa, kind, x, w), near, rtol=0, atol=0.06 * np.abs(w).max())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["f32", "bf16", "q8", "q4"])
def test_matmul_of_a_row_does_not_depend_on_the_other_rows(isa, kind):
    x, w = random(29, 96), random(100, 96)
    together = matmul(isa, kind, x, w)
    alone = np.concatenate([matmul(isa, kind, x[r : r + 1], w) for r in range(len(x))])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("isa", ISAS)
def test_coded_products_are_exact_at_the_largest_codes(isa):
    # 32 products of 127 * 127 or 127 * -127 must not saturate: 32 * 16129 = 516128 times both scales (1 / 127 each)
    # gives 32 or -32.
    x = np.ones((1, 32), np.float32)
    w = np.stack([np.ones(32), -np.ones(32)]).astype(np.float32)
    scale = float(np.float32(1 / 127).astype(ml_dtypes.bfloat16)) * 127  # the weight's scale is a bf16 number
    np.testing.assert_allclose(matmul(isa, "q8", x, w), [[32 * scale, -32 * scale]], rtol=1e-6)
    # -8 and 7 stand for 1 and -7 / 8 where the scale is -1 / 8.
    w[:, 0] = [1, 1]
    w[:, 1:] = -0.875
    np.testing.assert_allclose(matmul(isa, "q4", x, w), [[1 - 31 * 0.875] * 2], rtol=1e-6)


def test_packing_keeps_f32_exactly_and_rounds_like_the_checkpoint_formats():
    w = random(37, 50)
    back = np.empty_like(w)
    kernels.round_trip("f32", w, back)
    np.testing.assert_array_equal(back, w)
    kernels.round_trip("bf16", w, back)
    np.testing.assert_array_equal(back, w.astype(ml_dtypes.bfloat16).astype(np.float32))
    kernels.round_trip("q8", w, back)
    np.testing.assert_array_equal(back, numbers(*rounded_q8(w)))
    kernels.round_trip("q4", w, back)
    np.testing.assert_array_equal(back, numbers(*rounded_q4(w)))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("bits", "rule"), [(8, rounded_q8), (4, rounded_q4)])
@pytest.mark.parametrize(("outs", "ins"), [(16, 64), (1, 1), (17, 33), (40, 95)])
def test_every_instruction_set_rounds_to_the_codes_of_the_rule(isa, bits, rule, outs, ins):
    w = random(outs, ins)
    w[0] = 0
    codes, scales = _native.quantize(w, bits, isa)
    want_codes, want_scales = rule(w)
    np.testing.assert_array_equal(codes, want_codes)
    np.testing.assert_array_equal(scales, want_scales)


def test_q4_scales_are_chosen_a_quarter_below_the_squared_error_of_plain_rounding():
    w = random(64, 1024)
    plain_scale = np.abs(w.reshape(64, -1, 32)).max(axis=2) / 7
    plain = numbers(np.rint(w / np.repeat(plain_scale, 32, axis=1)), plain_scale)
    error = ((numbers(*_native.quantize(w, 4)) - w) ** 2).sum() / ((plain - w) ** 2).sum()
    assert error == pytest.approx(0.714, abs=0.02)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_refused(bits, bad):
    w = random(20, 40)
    w[19, 39] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        _native.quantize(w, bits)


@pytest.mark.parametrize("isa", ISAS)
def test_rms_norm_matches_numpy(isa):
    x, w, y = random(96), random(96), np.empty(96, np.float32)
    kernels.rms_norm(isa, x, w, 1e-5, y)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y, wide / np.sqrt((wide**2).mean() + 1e-5) * w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_silu_matches_numpy_and_stays_finite_far_out(isa):
    gate = np.concatenate([random(28) * 5, [200, -200, 0, -88]]).astype(np.float32)
    up, y = random(32), np.empty(32, np.float32)
    kernels.silu_mul(isa, gate, up, 0.5, y)
    wide = gate.astype(np.float64)
    np.testing.assert_allclose(y, wide / (1 + np.exp(-wide)) * up * 0.5, rtol=2e-6, atol=1e-7)


def router(**changes) -> _native.RouterShape:
    base = {"experts": 4, "chosen": 2, "groups": 1, "groups_kept": 1, "normalise": True, "scale": 1.0}
    return _native.RouterShape(**(base | changes))


LOGITS = np.log(np.array([0.2, 0.6, 0.4, 0.5]) / (1 - np.array([0.2, 0.6, 0.4, 0.5]))).astype(np.float32)  # sigmoid^-1


def test_router_takes_the_best_scores_and_normalises_them():
    chosen = kernels.choose_experts(router(), LOGITS, np.zeros(4, np.float32))
    assert [e for e, _ in chosen] == [1, 3]
    assert [w for _, w in chosen] == pytest.approx([0.6 / 1.1, 0.5 / 1.1], abs=1e-6)


def test_correction_bias_changes_the_choice_but_not_the_weight():
    chosen = kernels.choose_experts(router(), LOGITS, np.array([1, 0, 0, 0], np.float32))
    assert [e for e, _ in chosen] == [0, 1]  # 0.2 + 1 beats 0.6
    assert [w for _, w in chosen] == pytest.approx([0.2 / 0.8, 0.6 / 0.8], abs=1e-6)


def test_router_scale_and_unnormalised_weights():
    chosen = kernels.choose_experts(router(normalise=False, scale=2.5), LOGITS, np.zeros(4, np.float32))
    assert [w for _, w in chosen] == pytest.approx([1.5, 1.25], abs=1e-6)


def test_router_groups_are_ranked_by_their_two_best():
    # Groups (0.2, 0.6) and (0.4, 0.5): 0.8 against 0.9, so both experts come from the second.
    chosen = kernels.choose_experts(router(groups=2), LOGITS, np.zeros(4, np.float32))
    assert [e for e, _ in chosen] == [3, 2]
    assert [w for _, w in chosen] == pytest.approx([0.5 / 0.9, 0.4 / 0.9], abs=1e-6)
