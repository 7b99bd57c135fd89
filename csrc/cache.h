// Key-value memory of one layer: pages for global attention, a ring per slot for window attention.
//
// Both hold blocks of 64 positions, and a block holds, for each key-value head, the keys and the values as two packed
// matrices, so that attention is two products of kernels.h: scores [rows, 64] = q [rows, D] * keys^T with positions as
// outputs, and [rows, U] = weights [rows, 64] * values with positions as inputs.
#pragma once
#include <vector>

#include "tensor.h"

namespace openmimo {

constexpr int kRingRows = 64;  // new rows of a sequence that its ring takes without scratch memory

struct BlockLayout {
  Kind kind = Kind::f32;
  int heads = 0;  // G
  int k_dim = 0;  // D
  int v_dim = 0;  // U
  std::size_t k_panel_bytes = 0;
  std::size_t v_panel_bytes = 0;
  std::size_t k_bytes = 0;      // keys of one head
  std::size_t head_bytes = 0;   // keys and values of one head
  std::size_t block_bytes = 0;  // all heads

  BlockLayout() = default;
  BlockLayout(Kind kind, int heads, int k_dim, int v_dim);
  // k[D], v[U] -> position `at` of one head of a block.
  void write(std::byte* head, int at, const float* k, const float* v) const;
  // Zeroes the position after `at` where the two share a word, so that nothing of an earlier owner is multiplied.
  void clear_partner(std::byte* head, int at) const;
};

// One sequence of the current call, as its caches see it.
struct SequenceView {
  int row = 0;    // first row in the batch
  int rows = 0;   // new rows
  int first = 0;  // position of the first new row
  int slot = 0;
  const std::int32_t* pages = nullptr;
  int scratch_block = 0;  // where its scratch starts, in blocks
  bool in_scratch = false;  // new rows go to scratch: there are more of them than the ring takes
};

// Blocks that `view` needs in scratch; they start at the block that holds its first new row.
int scratch_blocks(const SequenceView& view);

class LayerCache {
 public:
  LayerCache() = default;
  // window < 0: global attention over num_blocks pages; else num_slots rings.
  LayerCache(const BlockLayout& layout, int window, int num_slots, int num_pages);

  const BlockLayout& layout() const { return layout_; }
  int window() const { return window_; }
  std::size_t bytes() const { return storage_.size(); }

  // First position that the row at `position` sees.
  int first_visible(int position) const;
  // The block that holds positions 64 * b .. 64 * b + 63 of a sequence.
  std::byte* block(const SequenceView& view, int b) const;
  // Before new rows are written: scratch gets the block that committed and new rows share.
  void prepare(const std::vector<SequenceView>& views, int total_scratch_blocks);
  // After a call: copies the first `keep` rows from scratch into the ring.
  void commit(const SequenceView& view, int keep);

 private:
  std::byte* ring(int slot, int b) const;

  BlockLayout layout_;
  int window_ = -1;
  int ring_blocks_ = 0;
  Arena storage_;
  Buffer<std::byte> scratch_;
};

}  // namespace openmimo
