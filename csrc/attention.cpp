#include "attention.h"

#include <algorithm>
#include <cmath>

namespace openmimo {
namespace {

constexpr int kTileRows = 128;        // rows that share a walk over the cache: a span of it stays in the L2 cache
constexpr float kNoMaximum = -1e30f;  // below any score, and exp of a difference with it is 0
constexpr int kPartsPerWorker = 8;

int per_group(const AttentionShape& shape) { return shape.heads / shape.kv_heads; }
int row_blocks(int rows) { return (rows + kPanel - 1) / kPanel; }

// The queries of one sequence lie behind those of the sequences before it.
std::size_t query_at(const AttentionShape& shape, const LayerCache& cache, std::size_t blocks_before, int row,
                     int group) {
  return ((blocks_before + row / kPanel) * shape.kv_heads + group) * cache.layout().k_inputs * kPanel + row % kPanel;
}

std::size_t partial_size(const BlockLayout& layout) { return kPanel * (2 + layout.v_panels * kPanel); }

// Softmax of 16 rows: [max, sum, acc] side by side.
struct Partial {
  float *max, *sum, *acc;
  explicit Partial(float* at) : max(at), sum(at + kPanel), acc(at + 2 * kPanel) {}
};

class RowStore {
 public:
  RowStore(const Machine& machine, const AttentionShape& shape, const Rotary& rotary, float value_scale,
           const LayerCache& cache, AttentionWork& work)
      : machine_(machine), shape_(shape), rotary_(rotary), value_scale_(value_scale), cache_(cache), work_(work),
        q_scale_(1.0f / std::sqrt(static_cast<float>(shape.k_dim))) {}

  // Row t of a sequence; qkv[H * D + G * D + G * U].
  void run(const SequenceView& view, int t, std::size_t blocks_before, const float* qkv, int worker) const {
    const int position = view.first + t, padded = round_up(std::max(shape_.k_dim, shape_.v_dim), kPanel);
    float* row = work_.worker[worker].row.get(2 * padded);
    std::fill_n(row, 2 * padded, 0.0f);
    for (int h = 0; h < shape_.heads; ++h) {
      std::copy_n(qkv + static_cast<std::size_t>(h) * shape_.k_dim, shape_.k_dim, row);
      rotary_.rotate(position, row);
      const int group = h / per_group(shape_), r = t * per_group(shape_) + h % per_group(shape_);
      float* to = work_.q.data() + query_at(shape_, cache_, blocks_before, r, group);
      for (int d = 0; d < cache_.layout().k_inputs; ++d) to[d * kPanel] = row[d] * q_scale_;
    }
    const float* keys = qkv + static_cast<std::size_t>(shape_.heads) * shape_.k_dim;
    const float* values = keys + static_cast<std::size_t>(shape_.kv_heads) * shape_.k_dim;
    for (int g = 0; g < shape_.kv_heads; ++g) {
      std::copy_n(keys + static_cast<std::size_t>(g) * shape_.k_dim, shape_.k_dim, row);
      rotary_.rotate(position, row);
      const float* v = values + static_cast<std::size_t>(g) * shape_.v_dim;
      for (int u = 0; u < shape_.v_dim; ++u) row[padded + u] = v[u] * value_scale_;
      write(view, position, g, row, row + padded, worker);
    }
  }

 private:
  void write(const SequenceView& view, int position, int group, const float* k, const float* v, int worker) const {
    const BlockLayout& layout = cache_.layout();
    StoreArgs a;
    a.block = cache_.block(view, position / kPanel) + group * layout.head_bytes;
    a.at = position % kPanel;
    a.k_inputs = layout.k_inputs;
    a.v_panels = layout.v_panels;
    a.values_at = layout.values_at;
    a.scales_at = layout.scales_at;
    a.k = k;
    a.v = v;
    a.work = work_.worker[worker].bits.get(round_up(std::max(shape_.k_dim, shape_.v_dim), kPanel));
    machine_.kernels->store[static_cast<int>(layout.kind)](a);
  }

  const Machine& machine_;
  const AttentionShape& shape_;
  const Rotary& rotary_;
  float value_scale_;
  const LayerCache& cache_;
  AttentionWork& work_;
  float q_scale_;
};

class Attention {
 public:
  Attention(const Machine& machine, const AttentionShape& shape, const float* sinks, const LayerCache& cache,
            float* out, std::size_t out_ld, AttentionWork& work)
      : kernels_(*machine.kernels), threads_(machine.pool->threads()), shape_(shape), sinks_(sinks), cache_(cache),
        layout_(cache.layout()), out_(out), out_ld_(out_ld), work_(work) {}

  // Cuts the work into parts and returns its multiply-adds.
  double plan(const std::vector<SequenceView>& views);
  void run(const AttentionPart& part, int worker);

 private:
  // What the rows of a block see of a span.
  struct Sight {
    std::int32_t lo[kPanel], hi[kPanel];
    int begin = kSpan, end = 0;
  };

  int position(const AttentionTile& tile, int row) const {
    return tile.view->first + (tile.first_row + row) / per_group(shape_);
  }
  double add_tiles(const SequenceView& view, std::size_t blocks_before);
  void share_out(AttentionTile& tile, double spans_per_part);
  Sight sight(const AttentionTile& tile, int span, int first, int rows) const;
  void attend_span(const AttentionTile& tile, int span, float* partials, int worker);
  void start(const AttentionTile& tile, float* state) const;
  void merge(const AttentionTile& tile, float* partials, float* state) const;
  void finish(const AttentionTile& tile, float* state) const;

  const Kernels& kernels_;
  int threads_;
  const AttentionShape& shape_;
  const float* sinks_;
  const LayerCache& cache_;
  const BlockLayout& layout_;
  float* out_;
  std::size_t out_ld_;
  AttentionWork& work_;
  std::size_t partials_ = 0;
  int shared_ = 0;
};

double Attention::plan(const std::vector<SequenceView>& views) {
  work_.tiles.clear();
  work_.parts.clear();
  std::size_t blocks_before = 0;
  double cost = 0, spans = 0;
  for (const SequenceView& view : views) {
    cost += add_tiles(view, blocks_before);
    blocks_before += row_blocks(view.rows * per_group(shape_));
  }
  for (const AttentionTile& tile : work_.tiles) spans += static_cast<double>(tile.spans) * row_blocks(tile.rows);
  const double fair = threads_ > 1 ? spans / (kPartsPerWorker * threads_) : spans;
  for (AttentionTile& tile : work_.tiles) share_out(tile, fair / row_blocks(tile.rows));
  work_.partials.get(partials_);
  std::atomic<int>* left = work_.parts_left.get(shared_);
  for (const AttentionTile& tile : work_.tiles)
    if (tile.parts > 1) left[tile.parts_left].store(tile.parts, std::memory_order_relaxed);
  return cost;
}

double Attention::add_tiles(const SequenceView& view, std::size_t blocks_before) {
  const int rows = view.rows * per_group(shape_);
  double seen = 0;
  for (int first = 0; first < rows; first += kTileRows) {
    AttentionTile tile{};
    tile.view = &view;
    tile.first_row = first;
    tile.rows = std::min(kTileRows, rows - first);
    const int begin = cache_.first_visible(position(tile, 0)), end = position(tile, tile.rows - 1) + 1;
    tile.first_span = begin / kSpan;
    tile.spans = (end - 1) / kSpan - tile.first_span + 1;
    seen += static_cast<double>(tile.rows) * (end - begin);
    for (tile.group = 0; tile.group < shape_.kv_heads; ++tile.group) {
      tile.q_at = query_at(shape_, cache_, blocks_before, first, tile.group);
      work_.tiles.push_back(tile);
    }
  }
  return seen * shape_.kv_heads * (shape_.k_dim + shape_.v_dim + 16);
}

void Attention::share_out(AttentionTile& tile, double spans_per_part) {
  const int step = static_cast<int>(std::clamp(spans_per_part, 1.0, static_cast<double>(tile.spans)));
  const int index = static_cast<int>(&tile - work_.tiles.data());
  for (int span = 0; span < tile.spans; span += step)
    work_.parts.push_back({index, tile.first_span + span, std::min(step, tile.spans - span)});
  tile.parts = (tile.spans + step - 1) / step;
  if (tile.parts == 1) return;
  tile.partials_at = partials_;
  tile.parts_left = shared_++;
  partials_ += static_cast<std::size_t>(tile.spans) * row_blocks(tile.rows) * partial_size(layout_);
}

// A tile's spans are merged in rising order, whoever computed them: a row's result does not depend on the others.
void Attention::run(const AttentionPart& part, int worker) {
  const AttentionTile& tile = work_.tiles[part.tile];
  AttentionWork::Worker& own = work_.worker[worker];
  const std::size_t size = row_blocks(tile.rows) * partial_size(layout_);
  float* state = own.state.get(size);
  if (tile.parts == 1) {
    float* partials = own.partials.get(size);
    start(tile, state);
    for (int span = 0; span < tile.spans; ++span) {
      attend_span(tile, tile.first_span + span, partials, worker);
      merge(tile, partials, state);
    }
    return finish(tile, state);
  }
  float* partials = work_.partials.data() + tile.partials_at;
  for (int span = part.first_span; span < part.first_span + part.spans; ++span)
    attend_span(tile, span, partials + (span - tile.first_span) * size, worker);
  if (work_.parts_left.data()[tile.parts_left].fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  start(tile, state);
  for (int span = 0; span < tile.spans; ++span) merge(tile, partials + span * size, state);
  finish(tile, state);
}

Attention::Sight Attention::sight(const AttentionTile& tile, int span, int first, int rows) const {
  Sight s;
  for (int r = 0; r < rows; ++r) {
    const int at = position(tile, first + r), start = span * kSpan;
    s.lo[r] = std::max(0, cache_.first_visible(at) - start);
    s.hi[r] = std::min(kSpan, at + 1 - start);
    if (s.hi[r] <= s.lo[r]) continue;
    s.begin = std::min<int>(s.begin, s.lo[r]);
    s.end = std::max<int>(s.end, s.hi[r]);
  }
  return s;
}

void Attention::attend_span(const AttentionTile& tile, int span, float* partials, int worker) {
  const std::byte* blocks[kSpan / kPanel];
  SpanArgs a;
  a.blocks = blocks;
  a.k_inputs = layout_.k_inputs;
  a.v_panels = layout_.v_panels;
  a.values_at = layout_.values_at;
  a.scales_at = layout_.scales_at;
  a.scores = work_.worker[worker].scores.get(kPanel * kSpan);
  for (int first = 0; first < tile.rows; first += kPanel) {
    a.rows = std::min(kPanel, tile.rows - first);
    const Sight s = sight(tile, span, first, a.rows);
    const Partial to(partials + first / kPanel * partial_size(layout_));
    if (s.begin >= s.end) {
      std::fill_n(to.sum, a.rows, 0.0f);
      continue;
    }
    for (int b = s.begin / kPanel; b * kPanel < s.end; ++b)
      blocks[b] = cache_.block(*tile.view, span * (kSpan / kPanel) + b) + tile.group * layout_.head_bytes;
    a.begin = s.begin;
    a.end = s.end;
    a.lo = s.lo;
    a.hi = s.hi;
    a.q = work_.q.data() + tile.q_at + first * shape_.kv_heads * static_cast<std::size_t>(layout_.k_inputs);
    a.max = to.max;
    a.sum = to.sum;
    a.acc = to.acc;
    kernels_.attend_span[static_cast<int>(layout_.kind)](a);
  }
}

// A sink is a first logit without a value.
void Attention::start(const AttentionTile& tile, float* state) const {
  for (int first = 0; first < tile.rows; first += kPanel) {
    const int rows = std::min(kPanel, tile.rows - first);
    const Partial to(state + first / kPanel * partial_size(layout_));
    for (int r = 0; r < rows; ++r) {
      const int head = tile.group * per_group(shape_) + (tile.first_row + first + r) % per_group(shape_);
      to.max[r] = sinks_ ? sinks_[head] : kNoMaximum;
      to.sum[r] = sinks_ ? 1.0f : 0.0f;
    }
    std::fill_n(to.acc, rows * layout_.v_panels * kPanel, 0.0f);
  }
}

void Attention::merge(const AttentionTile& tile, float* partials, float* state) const {
  for (int first = 0; first < tile.rows; first += kPanel) {
    const Partial span(partials + first / kPanel * partial_size(layout_));
    const Partial all(state + first / kPanel * partial_size(layout_));
    kernels_.merge_span({std::min(kPanel, tile.rows - first), layout_.v_panels * kPanel, all.max, all.sum, all.acc,
                         span.max, span.sum, span.acc});
  }
}

void Attention::finish(const AttentionTile& tile, float* state) const {
  for (int row = 0; row < tile.rows; ++row) {
    const Partial from(state + row / kPanel * partial_size(layout_));
    const int head = tile.group * per_group(shape_) + (tile.first_row + row) % per_group(shape_);
    const std::size_t at = tile.view->row + (tile.first_row + row) / per_group(shape_);
    const float* acc = from.acc + row % kPanel * layout_.v_panels * kPanel;
    const float inverse = 1.0f / from.sum[row % kPanel];
    float* to = out_ + at * out_ld_ + static_cast<std::size_t>(head) * shape_.v_dim;
    for (int u = 0; u < shape_.v_dim; ++u) to[u] = acc[u] * inverse;
  }
}

}  // namespace

void store_rows(const Machine& machine, const AttentionShape& shape, const Rotary& rotary, float value_scale,
                const std::vector<SequenceView>& views, const LayerCache& cache, const float* qkv, std::size_t ld,
                AttentionWork& work) {
  std::size_t row_blocks_in_all = 0;
  work.stores.clear();
  for (const SequenceView& view : views) {
    for (int t = 0; t < view.rows;) {
      const int rows = std::min(view.rows - t, kPanel - (view.first + t) % kPanel);
      work.stores.push_back({&view, t, rows, row_blocks_in_all});
      t += rows;
    }
    row_blocks_in_all += row_blocks(view.rows * per_group(shape));
  }
  work.q.get(row_blocks_in_all * shape.kv_heads * cache.layout().k_inputs * kPanel);
  const RowStore store(machine, shape, rotary, value_scale, cache, work);
  const double cost = static_cast<double>(views.back().row + views.back().rows) * ld;
  machine.pool->run(static_cast<int>(work.stores.size()), cost, [&](int chunk, int worker) {
    const StoreChunk& rows = work.stores[chunk];
    for (int t = rows.token; t < rows.token + rows.tokens; ++t)
      store.run(*rows.view, t, rows.blocks_before, qkv + (rows.view->row + t) * ld, worker);
  });
}

void attend(const Machine& machine, const AttentionShape& shape, const float* sinks,
            const std::vector<SequenceView>& views, const LayerCache& cache, float* out, std::size_t out_ld,
            AttentionWork& work) {
  Attention attention(machine, shape, sinks, cache, out, out_ld, work);
  const double cost = attention.plan(views) / 30;
  machine.pool->run(static_cast<int>(work.parts.size()), cost,
                    [&](int part, int worker) { attention.run(work.parts[part], worker); });
}

}  // namespace openmimo
