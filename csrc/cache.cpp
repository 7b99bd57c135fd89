#include "cache.h"

#include <algorithm>

namespace openmimo {
namespace {

constexpr int kPageBlocks = kPage / kPanel;
constexpr std::size_t kLine = 64;

std::size_t number_bytes(KvKind kind) { return kind == KvKind::f32 ? 4 : kind == KvKind::bf16 ? 2 : 1; }
std::size_t whole_lines(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

}  // namespace

BlockLayout::BlockLayout(KvKind kind_, int heads_, int k_dim, int v_dim)
    : kind(kind_), heads(heads_), k_inputs(kind_ == KvKind::bf16 ? round_up(k_dim, 2) : k_dim),
      v_panels(round_up(v_dim, kPanel) / kPanel) {
  values_at = whole_lines(k_inputs * kPanel * number_bytes(kind));
  scales_at = values_at + v_panels * kPanel * kPanel * number_bytes(kind);
  head_bytes = scales_at + (kind == KvKind::int8 ? 2 * kPanel * sizeof(std::uint16_t) : 0);
  bytes = head_bytes * heads;
}

int scratch_blocks(const SequenceView& view) {
  return view.in_scratch ? (view.first + view.rows - 1) / kPanel - view.first / kPanel + 1 : 0;
}

// A ring holds the window before the first new row and kRingRows new rows. Blocks are copied whole, which overwrites at
// most kRingRows - 1 positions beyond what is kept: the same bound.
LayerCache::LayerCache(const BlockLayout& layout, int window)
    : layout_(layout), window_(window), ring_blocks_(window < 0 ? 0 : round_up(window + kRingRows, kPanel) / kPanel) {}

void LayerCache::place(std::byte* first, std::size_t stride) {
  first_ = first;
  stride_ = stride;
}

int LayerCache::first_visible(int position) const { return is_paged() ? 0 : std::max(0, position - window_); }

std::byte* LayerCache::ring(int slot, int b) const {
  return first_ + slot * stride_ + b % ring_blocks_ * layout_.bytes;
}

std::byte* LayerCache::block(const SequenceView& view, int b) const {
  if (is_paged()) return first_ + view.pages[b / kPageBlocks] * stride_ + b % kPageBlocks * layout_.bytes;
  const int into_scratch = b - view.first / kPanel;
  if (!view.in_scratch || into_scratch < 0) return ring(view.slot, b);
  return scratch_.data() + (view.scratch_block + into_scratch) * layout_.bytes;
}

void LayerCache::prepare(const std::vector<SequenceView>& views, int total_scratch_blocks) {
  if (is_paged() || !total_scratch_blocks) return;
  scratch_.get(total_scratch_blocks * layout_.bytes);
  for (const SequenceView& view : views)
    if (view.in_scratch && view.first % kPanel)
      std::memcpy(block(view, view.first / kPanel), ring(view.slot, view.first / kPanel), layout_.bytes);
}

void LayerCache::commit(const SequenceView& view, int keep) {
  if (is_paged() || !view.in_scratch || !keep) return;
  const int end = view.first + keep;  // the next new row's position
  const int first = std::max(view.first, first_visible(end));
  for (int b = first / kPanel; b <= (end - 1) / kPanel; ++b)
    std::memcpy(ring(view.slot, b), block(view, b), layout_.bytes);
}

void CacheMemory::place(const std::vector<LayerCache*>& caches, int num_slots, int num_pages) {
  std::size_t page = 0, slot = 0;
  for (const LayerCache* cache : caches) (cache->is_paged() ? page : slot) += cache->unit_bytes();
  pages_ = Arena(page * num_pages);
  rings_ = Arena(slot * num_slots);
  std::byte *in_page = pages_.data(), *in_slot = rings_.data();
  for (LayerCache* cache : caches) {
    std::byte*& at = cache->is_paged() ? in_page : in_slot;
    cache->place(at, cache->is_paged() ? page : slot);
    at += cache->unit_bytes();
  }
}

}  // namespace openmimo
