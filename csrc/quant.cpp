#include "quant.h"

#include <sys/mman.h>

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

Arena::Arena(std::size_t bytes) : size_(bytes) {
  if (!bytes) return;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= (std::size_t{8} << 20)) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  data_ = std::unique_ptr<std::byte, Unmap>(static_cast<std::byte*>(p), Unmap{bytes});
}

void Unmap::operator()(std::byte* p) const { munmap(p, bytes); }

void Activations::resize(int rows, int width, bool with_codes) {
  const int new_ld = round_up(width, kGroup);
  const std::size_t n = static_cast<std::size_t>(rows) * new_ld;
  ld = new_ld;
  float* x = x_buffer.get(n);
  for (std::size_t r = 0; width < ld && r < static_cast<std::size_t>(rows); ++r)
    std::memset(x + r * ld + width, 0, sizeof(float) * (ld - width));
  if (!with_codes) return;
  q_buffer.get(n);
  scale_buffer.get(n / kGroup);
  offset_buffer.get(n / kGroup);
}

// Columns [first, first + columns) of one row; first is a multiple of 32.
void Activations::quantize_columns(const Kernels& kernels, std::int64_t r, int first, int columns) const {
  const std::int64_t at = r * ld + first;
  kernels.quantize(x_buffer.data() + at, round_up(columns, kGroup), q_buffer.data() + at,
                   scale_buffer.data() + at / kGroup, offset_buffer.data() + at / kGroup);
}

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
