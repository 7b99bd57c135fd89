"""Number formats by hand and by the standard libraries' own arithmetic."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openmimo.formats import (
    Quantized,
    count_nonfinite,
    dequantize,
    dequantize_fp8,
    dequantize_mxfp4,
    pack_codes,
    unpack_codes,
)

RNG = np.random.default_rng(0)


def test_fp8_codes_are_multiplied_by_the_scale_of_their_block():
    codes = RNG.normal(size=(5, 300)).astype(ml_dtypes.float8_e4m3fn)
    scales = RNG.normal(size=(5, 3)).astype(np.float32)
    expected = codes.astype(np.float32) * np.repeat(scales, 128, axis=1)[:, :300]
    assert (dequantize_fp8(codes, scales) == expected).all()


def test_every_fp8_code_is_what_ml_dtypes_says():
    codes = np.arange(256, dtype=np.uint8)[:, None].view(ml_dtypes.float8_e4m3fn)
    got = dequantize_fp8(codes, np.ones((256, 1), np.float32))
    np.testing.assert_array_equal(got, codes.astype(np.float32))
    assert count_nonfinite(got) == 2  # 7f and ff are NaN


def test_mxfp4_by_hand():
    # Codes 1 (0.5), 7 (6), 9 (-0.5), 15 (-6), even inputs in the low half; exponents 127 (1) and 129 (4).
    pairs = np.zeros((1, 32), np.uint8)
    pairs[0, 0], pairs[0, 16] = 0x71, 0xF9
    got = dequantize_mxfp4(pairs, np.array([[127, 129]], np.uint8))
    assert got.shape == (1, 64)
    assert got[0, [0, 1, 2, 32, 33]].tolist() == [0.5, 6, 0, -2, -24]


def test_mxfp4_exponents_reach_from_the_smallest_to_nan():
    pairs = np.full((1, 48), 0x22, np.uint8)  # code 2 is 1
    got = dequantize_mxfp4(pairs, np.array([[0, 254, 255]], np.uint8))
    assert (got[0, 0], got[0, 32]) == (np.float32(2**-127), np.float32(2.0**127))
    assert count_nonfinite(got) == 32


def test_q4_codes_pack_from_the_lowest_half_byte_up():
    # -8, -7, 0, 7 become 0, 1, 8, f; the fifth code -1 (7) is followed by zeros.
    packed = pack_codes(np.array([[-8, -7, 0, 7, -1]], np.int8), 4)
    assert packed.view(np.uint32).tolist() == [[0x0007F810]]


def test_q8_codes_pack_as_bytes_little_end_first():
    # -127, 0, 1, 127 are bytes 01, 80, 81, ff; the fifth code -1 (7f) starts a word that is filled with zeros.
    packed = pack_codes(np.array([[-127, 0, 1, 127, -1]], np.int8), 8)
    assert packed.view(np.uint32).tolist() == [[0xFF818001, 0x0000007F]]


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 17))), st.sampled_from([4, 8]))
def test_unpacking_undoes_packing(codes, bits):
    codes = codes >> (8 - bits)
    packed = pack_codes(codes, bits)
    assert packed.shape == (len(codes), -(-codes.shape[1] * bits // 32))
    assert (unpack_codes(packed, codes.shape[1], bits) == codes).all()


@pytest.mark.parametrize("width", [1, 31, 32, 33, 70])
def test_codes_are_multiplied_by_the_scale_of_their_group(width):
    codes = RNG.integers(-8, 8, (3, width)).astype(np.int8)
    scales = RNG.normal(size=(3, -(-width // 32))).astype(np.float32)
    expected = codes * np.repeat(scales, 32, axis=1)[:, :width]
    assert (dequantize(Quantized(4, codes, scales)) == expected).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_numbers_that_are_none_are_counted(dtype):
    values = np.zeros((3, 7), dtype)
    values[1, 2], values[2, 6] = np.nan, -np.inf
    assert (count_nonfinite(values), count_nonfinite(values[:1])) == (2, 0)
