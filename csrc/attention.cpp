#include "attention.h"

#include <algorithm>
#include <cmath>

namespace openmimo {
namespace {

constexpr int kTileRows = 48;        // query rows (tokens x heads of one group) that share a walk over the cache
constexpr int kRowsPerStore = 16;    // rows of one store_keys_values chunk
constexpr float kNoMaximum = -1e30f;  // below any score, and exp of a difference with it is 0

// Tokens [token, token + tokens) of one sequence, all query heads of key-value head `group`.
struct Tile {
  const SequenceView* view;
  int group;
  int token;
  int tokens;
};

// The working memory of one tile of R rows; row = token * heads_per_group + head.
struct TileMemory {
  float* q;       // [R, D padded to even]
  float* scores;  // [R, 64]
  float* acc;     // [R, U padded to 16]
  float* max;     // [R]
  float* sum;     // [R]
  std::int32_t* lo;
  std::int32_t* hi;
  int q_ld;
  int acc_ld;
};

TileMemory tile_memory(const AttentionShape& shape, AttentionScratch& scratch, int rows) {
  TileMemory m;
  m.q_ld = round_up(shape.k_dim, 2);
  m.acc_ld = round_up(shape.v_dim, kPanel);
  m.q = scratch.q.get(static_cast<std::size_t>(rows) * m.q_ld);
  m.scores = scratch.scores.get(static_cast<std::size_t>(rows) * kBlock);
  m.acc = scratch.acc.get(static_cast<std::size_t>(rows) * m.acc_ld);
  m.max = scratch.state.get(2 * static_cast<std::size_t>(rows));
  m.sum = m.max + rows;
  m.lo = scratch.range.get(2 * static_cast<std::size_t>(rows));
  m.hi = m.lo + rows;
  return m;
}

// Copies the tile's queries, scaled by D^-0.5, and starts the softmax: a sink is a first logit without a value.
void start_tile(const AttentionShape& shape, const Tile& tile, const float* sinks, const float* qkv, std::size_t ld,
                const TileMemory& m) {
  const int per_group = shape.heads / shape.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.k_dim));
  for (int r = 0; r < tile.tokens * per_group; ++r) {
    const int head = tile.group * per_group + r % per_group;
    const std::size_t row = tile.view->row + tile.token + r / per_group;
    const float* q = qkv + row * ld + static_cast<std::size_t>(head) * shape.k_dim;
    for (int d = 0; d < shape.k_dim; ++d) m.q[r * m.q_ld + d] = q[d] * scale;
    if (m.q_ld > shape.k_dim) m.q[r * m.q_ld + shape.k_dim] = 0;
    m.max[r] = sinks ? sinks[head] : kNoMaximum;
    m.sum[r] = sinks ? 1.0f : 0.0f;
    std::fill_n(m.acc + static_cast<std::size_t>(r) * m.acc_ld, m.acc_ld, 0.0f);
  }
}

MatmulArgs product(const std::byte* w, std::size_t panel_bytes, int panels, int ins) {
  MatmulArgs a;
  a.w = w;
  a.panel_bytes = panel_bytes;
  a.panels = panels;
  a.ins = ins;
  return a;
}

// One block: scores, softmax, weighted values. [lo, hi) is what any row of the tile sees of it.
void visit_block(const Kernels& kernels, const BlockLayout& layout, const std::byte* head, int lo, int hi, int rows,
                 const TileMemory& m) {
  const auto matmul = layout.kind == Kind::f32 ? kernels.matmul_f32 : kernels.matmul_bf16;
  const int first_panel = lo / kPanel;
  MatmulArgs scores = product(head + first_panel * layout.k_panel_bytes, layout.k_panel_bytes,
                              (hi + kPanel - 1) / kPanel - first_panel, m.q_ld);
  if (layout.kind == Kind::f32) scores.ins = layout.k_dim;
  scores.x = m.q;
  scores.x_ld = m.q_ld;
  scores.y = m.scores + first_panel * kPanel;
  scores.y_ld = kBlock;
  scores.rows = rows;
  matmul(scores);
  kernels.softmax({m.scores, rows, m.lo, m.hi, m.max, m.sum, m.acc, static_cast<std::size_t>(m.acc_ld)});
  const int first = lo / 2 * 2;
  const std::size_t skip = static_cast<std::size_t>(first) * kPanel * (layout.kind == Kind::f32 ? 4 : 2);
  MatmulArgs values = product(head + layout.k_bytes + skip, layout.v_panel_bytes, m.acc_ld / kPanel,
                              round_up(hi, 2) - first);
  if (layout.kind == Kind::f32) values.ins = hi - first;
  values.x = m.scores + first;
  values.x_ld = kBlock;
  values.y = m.acc;
  values.y_ld = m.acc_ld;
  values.rows = rows;
  values.add = true;
  matmul(values);
}

void finish_tile(const AttentionShape& shape, const Tile& tile, const TileMemory& m, float* out, std::size_t out_ld) {
  const int per_group = shape.heads / shape.kv_heads;
  for (int r = 0; r < tile.tokens * per_group; ++r) {
    const int head = tile.group * per_group + r % per_group;
    const std::size_t row = tile.view->row + tile.token + r / per_group;
    float* to = out + row * out_ld + static_cast<std::size_t>(head) * shape.v_dim;
    const float inverse = 1.0f / m.sum[r];
    for (int u = 0; u < shape.v_dim; ++u) to[u] = m.acc[static_cast<std::size_t>(r) * m.acc_ld + u] * inverse;
  }
}

// Blocks lie at fixed positions, so a row's softmax takes the same steps however the rows were cut into calls.
void attend_tile(const Kernels& kernels, const AttentionShape& shape, const LayerCache& cache, const Tile& tile,
                 const TileMemory& m) {
  const int per_group = shape.heads / shape.kv_heads, rows = tile.tokens * per_group;
  const int first_position = tile.view->first + tile.token, last_position = first_position + tile.tokens - 1;
  const int begin = cache.first_visible(first_position);
  for (int b = begin / kBlock; b <= last_position / kBlock; ++b) {
    const int start = b * kBlock;
    for (int r = 0; r < rows; ++r) {
      const int position = first_position + r / per_group;
      m.lo[r] = std::max(0, cache.first_visible(position) - start);
      m.hi[r] = std::min(kBlock, position + 1 - start);
    }
    const std::byte* head = cache.block(*tile.view, b) + tile.group * cache.layout().head_bytes;
    visit_block(kernels, cache.layout(), head, std::max(0, begin - start), std::min(kBlock, last_position + 1 - start),
                rows, m);
  }
}

int first_row_of_chunk(int chunk) { return chunk * kRowsPerStore; }

}  // namespace

void store_keys_values(const Machine& machine, const AttentionShape& shape, const Rotary& rotary, float value_scale,
                       const std::vector<SequenceView>& views, const LayerCache& cache, float* qkv, std::size_t ld) {
  const BlockLayout& layout = cache.layout();
  const int total = views.back().row + views.back().rows;
  const auto store = [&](const SequenceView& view, int t) {
    const int position = view.first + t;
    float* row = qkv + (view.row + t) * ld;
    float* keys = row + static_cast<std::size_t>(shape.heads) * shape.k_dim;
    float* values = keys + static_cast<std::size_t>(shape.kv_heads) * shape.k_dim;
    for (int h = 0; h < shape.heads + shape.kv_heads; ++h) rotary.rotate(position, row + h * shape.k_dim);
    for (int i = 0; i < shape.kv_heads * shape.v_dim; ++i) values[i] *= value_scale;
    std::byte* head = cache.block(view, position / kBlock);
    for (int g = 0; g < shape.kv_heads; ++g, head += layout.head_bytes) {
      layout.write(head, position % kBlock, keys + g * shape.k_dim, values + g * shape.v_dim);
      if (t == view.rows - 1) layout.clear_partner(head, position % kBlock);
    }
  };
  const int chunks = (total + kRowsPerStore - 1) / kRowsPerStore;
  machine.pool->run(chunks, static_cast<double>(total) * ld, [&](int chunk, int) {
    const int end = std::min(total, first_row_of_chunk(chunk + 1));
    auto view = std::upper_bound(views.begin(), views.end(), first_row_of_chunk(chunk),
                                 [](int row, const SequenceView& v) { return row < v.row + v.rows; });
    for (int row = first_row_of_chunk(chunk); row < end; ++row) {
      if (row >= view->row + view->rows) ++view;
      store(*view, row - view->row);
    }
  });
}

void attend(const Machine& machine, const AttentionShape& shape, const float* sinks,
            const std::vector<SequenceView>& views, const LayerCache& cache, const float* qkv, std::size_t ld,
            float* out, std::size_t out_ld, std::vector<AttentionScratch>& scratch) {
  const int per_group = shape.heads / shape.kv_heads, tokens = std::max(1, kTileRows / per_group);
  thread_local std::vector<Tile> tiles;
  tiles.clear();
  double cost = 0;
  for (const SequenceView& view : views)
    for (int token = 0; token < view.rows; token += tokens) {
      const int n = std::min(tokens, view.rows - token), last = view.first + token + n;
      for (int g = 0; g < shape.kv_heads; ++g) tiles.push_back({&view, g, token, n});
      cost += static_cast<double>(n) * shape.heads * (shape.k_dim + shape.v_dim + 16) *
              (last - cache.first_visible(last - 1));
    }
  const std::vector<Tile>& shared = tiles;
  machine.pool->run(static_cast<int>(shared.size()), cost / 30, [&](int chunk, int worker) {
    const Tile& tile = shared[chunk];
    const TileMemory m = tile_memory(shape, scratch[worker], tile.tokens * per_group);
    start_tile(shape, tile, sinks, qkv, ld, m);
    attend_tile(*machine.kernels, shape, cache, tile, m);
    finish_tile(shape, tile, m, out, out_ld);
  });
}

}  // namespace openmimo
