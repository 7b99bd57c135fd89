// Packing of weights into panels, and reading a row back.
#pragma once
#include "tensor.h"

namespace openmimo {

inline std::uint16_t to_bf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40);  // keep NaN a NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
inline float from_bf16(std::uint16_t x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

// Weights [outs, ins] in one of the two types that checkpoints hold.
struct WeightRows {
  const float* f32 = nullptr;
  const std::uint16_t* bf16 = nullptr;
};

// Part of a matrix: `count` rows from `first` on. Parts of different calls may share a panel, but not at the same time.
struct RowRange {
  int first = 0;
  int count = 0;
  int panels() const { return (first + count + kPanel - 1) / kPanel - first / kPanel; }
};

// The rows that lie in the range's panel number `panel` -> the matrix, rounded to its kind; w is row range.first.
// False: a weight is NaN or infinite, and the kind has codes.
bool pack_panel(const Kernels& kernels, const Matrix& matrix, RowRange range, int panel, WeightRows w);

// codes[ins], scales[ceil(ins / 32)] -> row `out` of a q8 or q4 matrix, unchanged; scales are bf16 numbers.
// False: a code does not fit a q4 matrix.
bool pack_codes(const Matrix& matrix, int out, const std::int8_t* codes, const float* scales);

// Row `out` of a q8 or q4 matrix -> codes[ins], scales[ceil(ins / 32)].
void unpack_codes(const Matrix& matrix, int out, std::int8_t* codes, float* scales);

// Row `out` of the matrix -> w[ins].
void unpack_row(const Matrix& matrix, int out, float* w);

}  // namespace openmimo
