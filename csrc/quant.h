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

// w[ins] -> row `out` of the matrix, rounded or quantised to its kind.
void pack_row(const Matrix& matrix, int out, const float* w);

// codes[ins], scales[ceil(ins / 32)] -> row `out` of a q8 matrix, unchanged.
void pack_codes(const Matrix& matrix, int out, const std::int8_t* codes, const float* scales);

// Row `out` of the matrix -> w[ins].
void unpack_row(const Matrix& matrix, int out, float* w);

}  // namespace openmimo
