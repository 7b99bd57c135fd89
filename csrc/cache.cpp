#include "cache.h"

#include <algorithm>

#include "quant.h"

namespace openmimo {

BlockLayout::BlockLayout(Kind kind_, int heads_, int k_dim_, int v_dim_)
    : kind(kind_), heads(heads_), k_dim(k_dim_), v_dim(v_dim_) {
  const Matrix keys{kind, kBlock, k_dim, nullptr}, values{kind, v_dim, kBlock, nullptr};
  k_panel_bytes = keys.panel_bytes();
  v_panel_bytes = values.panel_bytes();
  k_bytes = keys.bytes();
  head_bytes = k_bytes + values.bytes();
  block_bytes = head_bytes * heads;
}

void BlockLayout::write(std::byte* head, int at, const float* k, const float* v) const {
  std::byte* keys = head + at / kPanel * k_panel_bytes;
  std::byte* values = head + k_bytes;
  const int lane = at % kPanel;
  if (kind == Kind::f32) {
    float* to = reinterpret_cast<float*>(keys) + lane;
    for (int d = 0; d < k_dim; ++d) to[d * kPanel] = k[d];
    for (int u = 0; u < v_dim; ++u)
      reinterpret_cast<float*>(values + u / kPanel * v_panel_bytes)[at * kPanel + u % kPanel] = v[u];
    return;
  }
  std::uint16_t* to = reinterpret_cast<std::uint16_t*>(keys) + lane * 2;
  for (int d = 0; d < k_dim; ++d) to[d / 2 * (kPanel * 2) + d % 2] = to_bf16(k[d]);
  const int pair = at / 2 * (kPanel * 2) + at % 2;
  for (int u = 0; u < v_dim; ++u)
    reinterpret_cast<std::uint16_t*>(values + u / kPanel * v_panel_bytes)[pair + u % kPanel * 2] = to_bf16(v[u]);
}

void BlockLayout::clear_partner(std::byte* head, int at) const {
  if (kind == Kind::f32 || at % 2) return;
  std::byte* values = head + k_bytes;
  const int pair = at / 2 * (kPanel * 2) + 1;
  for (int u = 0; u < v_dim; ++u)
    reinterpret_cast<std::uint16_t*>(values + u / kPanel * v_panel_bytes)[pair + u % kPanel * 2] = 0;
}

int scratch_blocks(const SequenceView& view) {
  return view.in_scratch ? (view.first + view.rows - 1) / kBlock - view.first / kBlock + 1 : 0;
}

// A ring must hold the window before the first new row and kRingRows new rows, at any alignment.
LayerCache::LayerCache(const BlockLayout& layout, int window, int num_slots, int num_pages)
    : layout_(layout), window_(window) {
  ring_blocks_ = window < 0 ? 0 : (window + kRingRows + kBlock - 2) / kBlock + 1;
  const std::size_t blocks = window < 0 ? num_pages : static_cast<std::size_t>(num_slots) * ring_blocks_;
  storage_ = Arena(blocks * layout.block_bytes);
}

int LayerCache::first_visible(int position) const { return window_ < 0 ? 0 : std::max(0, position - window_); }

std::byte* LayerCache::ring(int slot, int b) const {
  return storage_.data() + (static_cast<std::size_t>(slot) * ring_blocks_ + b % ring_blocks_) * layout_.block_bytes;
}

std::byte* LayerCache::block(const SequenceView& view, int b) const {
  if (window_ < 0) return storage_.data() + static_cast<std::size_t>(view.pages[b]) * layout_.block_bytes;
  const int into_scratch = b - view.first / kBlock;
  if (!view.in_scratch || into_scratch < 0) return ring(view.slot, b);
  return scratch_.data() + static_cast<std::size_t>(view.scratch_block + into_scratch) * layout_.block_bytes;
}

void LayerCache::prepare(const std::vector<SequenceView>& views, int total_scratch_blocks) {
  if (window_ < 0 || !total_scratch_blocks) return;
  scratch_.get(total_scratch_blocks * layout_.block_bytes);
  for (const SequenceView& view : views)
    if (view.in_scratch && view.first % kBlock)
      std::memcpy(block(view, view.first / kBlock), ring(view.slot, view.first / kBlock), layout_.block_bytes);
}

void LayerCache::commit(const SequenceView& view, int keep) {
  if (window_ < 0 || !view.in_scratch || !keep) return;
  const int end = view.first + keep;  // the next new row's position
  const int first = std::max(view.first, first_visible(end));
  for (int b = first / kBlock; b <= (end - 1) / kBlock; ++b)
    std::memcpy(ring(view.slot, b), block(view, b), layout_.block_bytes);
}

}  // namespace openmimo
