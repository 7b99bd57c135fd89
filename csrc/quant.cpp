#include "quant.h"

#include <algorithm>
#include <cmath>

namespace openmimo {
namespace {

std::byte* panel_of(const Matrix& m, int out) { return m.data + (out / kPanel) * m.panel_bytes(); }

// Where the code of input i and the scale of its group lie inside a panel, for one lane.
std::size_t code_at(int i, int lane) {
  return i / kGroup * kGroupBytes + (i % kGroup) / 4 * (kPanel * 4) + lane * 4 + i % 4;
}
std::size_t scale_at(int group, int lane) { return group * kGroupBytes + kGroup * kPanel + lane * sizeof(float); }

void set_code(std::byte* panel, int i, int lane, int code) {
  panel[code_at(i, lane)] = static_cast<std::byte>(code + 128);
}

}  // namespace

void pack_row(const Matrix& m, int out, const float* w) {
  std::byte* panel = panel_of(m, out);
  const int lane = out % kPanel;
  if (m.kind == Kind::f32) {
    float* to = reinterpret_cast<float*>(panel) + lane;
    for (int i = 0; i < m.ins; ++i) to[i * kPanel] = w[i];
    return;
  }
  if (m.kind == Kind::bf16) {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(panel) + lane * 2;
    for (int i = 0; i < m.ins; ++i) to[i / 2 * (kPanel * 2) + i % 2] = to_bf16(w[i]);
    return;
  }
  for (int first = 0; first < m.ins; first += kGroup) {
    const int n = m.ins - first < kGroup ? m.ins - first : kGroup;
    float largest = 0;
    for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(w[first + i]));
    // The same rule as openmimo/q8.py: the scale is rounded to bf16 first, so both give the same codes.
    const float scale = from_bf16(to_bf16(largest / 127.0f)), divisor = scale > 0 ? scale : 1.0f;
    for (int i = 0; i < n; ++i) {
      const float code = std::nearbyint(w[first + i] / divisor);
      set_code(panel, first + i, lane, static_cast<int>(std::clamp(code, -127.0f, 127.0f)));
    }
    std::memcpy(panel + scale_at(first / kGroup, lane), &scale, sizeof scale);
  }
}

void pack_codes(const Matrix& m, int out, const std::int8_t* codes, const float* scales) {
  std::byte* panel = panel_of(m, out);
  const int lane = out % kPanel;
  for (int i = 0; i < m.ins; ++i) set_code(panel, i, lane, codes[i]);
  for (int g = 0; g < m.padded_ins() / kGroup; ++g)
    std::memcpy(panel + scale_at(g, lane), &scales[g], sizeof(float));
}

void unpack_row(const Matrix& m, int out, float* w) {
  const std::byte* panel = panel_of(m, out);
  const int lane = out % kPanel;
  if (m.kind == Kind::f32) {
    const float* from = reinterpret_cast<const float*>(panel) + lane;
    for (int i = 0; i < m.ins; ++i) w[i] = from[i * kPanel];
    return;
  }
  if (m.kind == Kind::bf16) {
    const std::uint16_t* from = reinterpret_cast<const std::uint16_t*>(panel) + lane * 2;
    for (int i = 0; i < m.ins; ++i) w[i] = from_bf16(from[i / 2 * (kPanel * 2) + i % 2]);
    return;
  }
  for (int i = 0; i < m.ins; ++i) {
    float scale;
    std::memcpy(&scale, panel + scale_at(i / kGroup, lane), sizeof scale);
    w[i] = static_cast<float>(static_cast<int>(panel[code_at(i, lane)]) - 128) * scale;
  }
}

}  // namespace openmimo
