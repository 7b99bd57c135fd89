#include "ops.h"

#include <algorithm>
#include <cmath>

namespace openmimo {
namespace {

constexpr int kPanelsAtOnce = 4;
constexpr int kRowsAtOnce = 120;  // a multiple of every tile height

}  // namespace

void multiply(const Kernels& kernels, const Matrix& w, int first, int panels, const Activations& x, const Rows& rows,
              float* y, std::size_t y_ld, bool add) {
  const std::size_t skip_x = rows.in ? 0 : static_cast<std::size_t>(rows.first) * x.ld;
  MatmulArgs a;
  a.w = w.data + first * w.panel_bytes();
  a.panel_bytes = w.panel_bytes();
  a.panels = panels;
  a.ins = w.padded_ins();
  a.x = x.x_buffer.data() + skip_x;
  a.x_ld = x.ld;
  if (is_coded(w.kind)) {
    a.q = x.q_buffer.data() + skip_x;
    a.q_scale = x.scale_buffer.data() + skip_x / kGroup;
    a.q_offset = x.offset_buffer.data() + skip_x / kGroup;
  }
  a.x_index = rows.in ? rows.in + rows.first : nullptr;
  a.y = rows.out ? y : y + static_cast<std::size_t>(rows.first) * y_ld;
  a.y_ld = y_ld;
  a.y_index = rows.out ? rows.out + rows.first : nullptr;
  a.rows = rows.count;
  a.add = add;
  switch (w.kind) {
    case Kind::f32: return kernels.matmul_f32(a);
    case Kind::bf16: return kernels.matmul_bf16(a);
    case Kind::q8: return kernels.matmul_q8(a);
    case Kind::q4: return kernels.matmul_q4(a);
  }
}

void linear(const Machine& machine, const Matrix& w, const Activations& x, const Rows& rows, float* y,
            std::size_t y_ld, bool add) {
  const int bands = (rows.count + kRowsAtOnce - 1) / kRowsAtOnce;
  const bool is_small = w.panels() * bands < 2 * kPanelsAtOnce * machine.pool->threads();
  const int at_once = is_small ? 1 : kPanelsAtOnce;  // else too few chunks to share
  const int columns = (w.panels() + at_once - 1) / at_once;
  machine.pool->run(columns * bands, product_time(w, rows.count), [&](int chunk, int) {
    const int panel = chunk % columns * at_once, row = chunk / columns * kRowsAtOnce;
    const int panels = std::min(at_once, w.panels() - panel);
    const Rows band{std::min(kRowsAtOnce, rows.count - row), rows.first + row, rows.in, rows.out};
    multiply(*machine.kernels, w, panel, panels, x, band, y + static_cast<std::size_t>(panel) * kPanel, y_ld, add);
  });
}

Rotary::Rotary(int dims, float theta) : dims_(dims), theta_(theta) {
  for (int j = 0; j < dims / 2; ++j)
    frequency_.push_back(static_cast<float>(1.0 / std::pow(static_cast<double>(theta), 2.0 * j / dims)));
}

void Rotary::cover(int positions) {
  const std::size_t half = frequency_.size();
  std::size_t covered = half ? table_.size() / (2 * half) : positions;
  if (static_cast<std::size_t>(positions) <= covered) return;
  const std::size_t target = std::max<std::size_t>(positions, covered * 2);
  table_.resize(target * half * 2);
  for (; covered < target; ++covered)
    for (std::size_t j = 0; j < half; ++j) {
      const double angle = static_cast<float>(covered) * frequency_[j];
      table_[(covered * half + j) * 2] = static_cast<float>(std::cos(angle));
      table_[(covered * half + j) * 2 + 1] = static_cast<float>(std::sin(angle));
    }
}

void Rotary::rotate(int position, float* head) const {
  const int half = dims_ / 2;
  const float* at = table_.data() + static_cast<std::size_t>(position) * dims_;
  for (int j = 0; j < half; ++j) {
    const float c = at[2 * j], s = at[2 * j + 1], a = head[j], b = head[j + half];
    head[j] = a * c - b * s;
    head[j + half] = b * c + a * s;
  }
}

}  // namespace openmimo
