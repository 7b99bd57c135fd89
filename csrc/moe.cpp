#include "moe.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace openmimo {
namespace {

constexpr int kPanelsAtOnce = 4;  // 64 columns: whole int8 groups
constexpr int kRowsAtOnce = 120;
constexpr int kRowsPerChoice = 16;
constexpr float kExcluded = -std::numeric_limits<float>::infinity();

// Leaves only the experts of the `groups_kept` groups whose two best biased scores sum highest.
void keep_groups(const RouterShape& shape, float* biased) {
  const int size = shape.experts / shape.groups;
  std::vector<std::pair<float, int>> ranked(shape.groups);
  for (int g = 0; g < shape.groups; ++g) {
    float best = kExcluded, second = kExcluded;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (biased[e] > best) {
        second = best;
        best = biased[e];
      } else if (biased[e] > second) {
        second = biased[e];
      }
    }
    ranked[g] = {-(size > 1 ? best + second : best), g};
  }
  std::sort(ranked.begin(), ranked.end());
  for (int k = shape.groups_kept; k < shape.groups; ++k)
    std::fill_n(biased + ranked[k].second * size, size, kExcluded);
}

// x[T, C] -> chosen[T, K], the logits in float32
void route(const Machine& machine, const RouterShape& shape, const FeedForward& ffn, const Activations& x, int rows,
           FeedForwardScratch& s) {
  const std::size_t ld = static_cast<std::size_t>(ffn.router.panels()) * kPanel;
  const float* logits = s.logits.get(rows * ld);
  Choice* chosen = s.chosen.get(static_cast<std::size_t>(rows) * shape.chosen);
  s.scores.resize(machine.pool->threads());
  for (auto& scores : s.scores) scores.resize(2 * shape.experts);
  linear(machine, ffn.router, x, {rows, 0, nullptr, nullptr}, s.logits.data(), ld, false);
  const int chunks = (rows + kRowsPerChoice - 1) / kRowsPerChoice;
  const double time = static_cast<double>(rows) * shape.experts * (shape.chosen + 8);
  machine.pool->run(chunks, time, [&](int chunk, int worker) {
    float* scores = s.scores[worker].data();
    for (int r = chunk * kRowsPerChoice; r < std::min(rows, (chunk + 1) * kRowsPerChoice); ++r)
      choose_experts(shape, logits + r * ld, ffn.correction.data(), scores, scores + shape.experts,
                     chosen + static_cast<std::size_t>(r) * shape.chosen);
  });
}

// Counting sort of the chosen (token, expert) pairs by expert; tokens stay in order.
void group_by_expert(const RouterShape& shape, int rows, FeedForwardScratch& s) {
  const int pairs = rows * shape.chosen;
  const Choice* chosen = s.chosen.data();
  s.begin.assign(shape.experts + 1, 0);
  for (int i = 0; i < pairs; ++i) ++s.begin[chosen[i].expert + 1];
  s.active.clear();
  for (int e = 0; e < shape.experts; ++e) {
    if (s.begin[e + 1]) s.active.push_back(e);
    s.begin[e + 1] += s.begin[e];
  }
  s.rows.resize(pairs);
  s.weights.resize(pairs);
  for (int i = 0; i < pairs; ++i) {
    const std::int32_t at = s.begin[chosen[i].expert]++;
    s.rows[at] = i / shape.chosen;
    s.weights[at] = chosen[i].weight;
  }
  for (int e = shape.experts; e > 0; --e) s.begin[e] = s.begin[e - 1];
  s.begin[0] = 0;
}

// A dense network is one expert that every row chooses with weight 1.
void group_dense(int rows, FeedForwardScratch& s) {
  s.begin = {0, rows};
  s.active = {0};
  s.rows.resize(rows);
  for (int r = 0; r < rows; ++r) s.rows[r] = r;
  s.weights.assign(rows, 1.0f);
}

// hidden[rows of one expert, 64 columns at `panel`] = weight * silu(x gate^T) * (x up^T)
void gate_up(const Kernels& kernels, const Expert& expert, const Activations& x, const Rows& rows, int panel,
             FeedForwardScratch& s, Buffer<float>& up_buffer) {
  const int panels = std::min(kPanelsAtOnce, expert.gate.panels() - panel), columns = panels * kPanel;
  float* gate = s.hidden.row(0) + panel * kPanel;
  float* up = up_buffer.get(static_cast<std::size_t>(rows.count) * columns);
  const Rows gathered{rows.count, rows.first, s.rows.data(), nullptr};
  multiply(kernels, expert.gate, panel, panels, x, gathered, gate, s.hidden.ld, false);
  multiply(kernels, expert.up, panel, panels, x, gathered, up - static_cast<std::ptrdiff_t>(rows.first) * columns,
           columns, false);
  for (int r = 0; r < rows.count; ++r) {
    const int row = rows.first + r;
    float* h = gate + static_cast<std::size_t>(row) * s.hidden.ld;
    kernels.silu_mul(h, up + static_cast<std::size_t>(r) * columns, s.weights[row], columns, h);
    if (is_coded(expert.down.kind)) s.hidden.quantize_columns(kernels, row, panel * kPanel, columns);
  }
}

}  // namespace

void choose_experts(const RouterShape& shape, const float* logits, const float* correction, float* scores,
                    float* biased, Choice* chosen) {
  for (int e = 0; e < shape.experts; ++e) {
    scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
    biased[e] = scores[e] + correction[e];
  }
  if (shape.groups > 1) keep_groups(shape, biased);
  float sum = 0;
  for (int k = 0; k < shape.chosen; ++k) {
    int best = 0;
    for (int e = 1; e < shape.experts; ++e)
      if (biased[e] > biased[best]) best = e;
    chosen[k] = {best, scores[best]};
    biased[best] = kExcluded;
    sum += scores[best];
  }
  const float factor = (shape.normalise ? 1.0f / (sum + 1e-20f) : 1.0f) * shape.scale;
  for (int k = 0; k < shape.chosen; ++k) chosen[k].weight *= factor;
}

void feed_forward(const Machine& machine, const RouterShape& shape, const FeedForward& ffn, const Activations& x,
                  int rows, float* y, std::size_t y_ld, FeedForwardScratch& s) {
  const bool routed = ffn.router.outs > 0;
  if (routed) {
    route(machine, shape, ffn, x, rows, s);
    group_by_expert(shape, rows, s);
  } else {
    group_dense(rows, s);
  }
  const Matrix& gate = ffn.experts[0].gate;
  const Matrix& down = ffn.experts[0].down;
  const int pairs = static_cast<int>(s.rows.size());
  s.hidden.resize(pairs, gate.outs, is_coded(down.kind));
  s.up.resize(machine.pool->threads());

  // The longest list of rows decides how many bands each expert is cut into; short experts leave some empty.
  int longest = 0;
  for (const int e : s.active) longest = std::max(longest, s.begin[e + 1] - s.begin[e]);
  const int bands = (longest + kRowsAtOnce - 1) / kRowsAtOnce;
  const int columns = (gate.panels() + kPanelsAtOnce - 1) / kPanelsAtOnce;
  const int num_active = static_cast<int>(s.active.size());
  const double rows_each = static_cast<double>(pairs) / num_active;
  machine.pool->run(num_active * columns * bands, 2 * num_active * product_time(gate, rows_each), [&](int chunk, int worker) {
    const int e = s.active[chunk / columns / bands];
    const int first = s.begin[e] + chunk % bands * kRowsAtOnce;
    const Rows part{std::min(kRowsAtOnce, s.begin[e + 1] - first), first, nullptr, nullptr};
    if (part.count > 0)
      gate_up(*machine.kernels, ffn.experts[e], x, part, chunk / bands % columns * kPanelsAtOnce, s, s.up[worker]);
  });

  // A chunk owns its columns of y for all rows, and experts come in rising order: every sum has a fixed order.
  const int out_columns = (down.panels() + kPanelsAtOnce - 1) / kPanelsAtOnce;
  machine.pool->run(out_columns, num_active * product_time(down, rows_each), [&](int chunk, int) {
    const int panel = chunk * kPanelsAtOnce, panels = std::min(kPanelsAtOnce, down.panels() - panel);
    for (const int e : s.active)
      multiply(*machine.kernels, ffn.experts[e].down, panel, panels, s.hidden,
               Rows{s.begin[e + 1] - s.begin[e], s.begin[e], nullptr, s.rows.data()}, y + panel * kPanel, y_ld, true);
  });
}

}  // namespace openmimo
