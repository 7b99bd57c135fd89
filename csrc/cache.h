// Key-value memory: pages for global attention, a ring per slot for window attention.
//
// Both are made of blocks of 16 positions, each with the keys and values of all key-value heads (kernels.h has the
// layout). A page is four blocks. All layers' parts of a page lie side by side, and so do all layers' rings of a slot:
// memory that no sequence uses is never touched, whatever the number of layers, pages and slots.
#pragma once
#include <vector>

#include "tensor.h"

namespace openmimo {

constexpr int kPage = 64;      // positions in a page
constexpr int kRingRows = 16;  // new rows of a sequence that its ring takes without scratch memory

enum class KvKind { f32, bf16, int8 };

struct BlockLayout {
  KvKind kind = KvKind::f32;
  int heads = 0;  // G
  int k_inputs = 0;
  int v_panels = 0;
  std::size_t values_at = 0;
  std::size_t scales_at = 0;
  std::size_t head_bytes = 0;  // one head
  std::size_t bytes = 0;       // all heads

  BlockLayout() = default;
  BlockLayout(KvKind kind, int heads, int k_dim, int v_dim);
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
  // window < 0: global attention.
  LayerCache(const BlockLayout& layout, int window);

  const BlockLayout& layout() const { return layout_; }
  bool is_paged() const { return window_ < 0; }
  // Bytes of this layer in a page, or in the rings of a slot.
  std::size_t unit_bytes() const { return layout_.bytes * (is_paged() ? kPage / kPanel : ring_blocks_); }
  // The first page's or slot's part of this layer, and the distance to the next.
  void place(std::byte* first, std::size_t stride);

  // First position that the row at `position` sees.
  int first_visible(int position) const;
  // The block that holds positions 16 * b .. 16 * b + 15 of a sequence. A ring's may also hold positions that lie
  // a ring's length further back.
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
  std::byte* first_ = nullptr;
  std::size_t stride_ = 0;
  Buffer<std::byte> scratch_;
};

// The memory of all layers' caches.
class CacheMemory {
 public:
  // Places the caches, which must stay where they are.
  void place(const std::vector<LayerCache*>& caches, int num_slots, int num_pages);
  std::size_t bytes() const { return pages_.size() + rings_.size(); }

 private:
  Arena pages_, rings_;
};

}  // namespace openmimo
