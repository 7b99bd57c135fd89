// Attention of new rows over a layer's cache.
#pragma once
#include <atomic>

#include "cache.h"
#include "ops.h"

namespace openmimo {

struct AttentionShape {
  int window = -1;  // past positions visible besides the row itself; < 0: all
  int heads = 0;    // H
  int kv_heads = 0;  // G
  int k_dim = 0;    // D
  int v_dim = 0;    // U
  int rotary_dims = 0;
  float rope_theta = 0;
  bool has_sink = false;
  bool has_bias = false;
};

// Consecutive query rows of one sequence and key-value head that walk the cache together, up to 128 of them. Row r of a
// sequence is query head r % (H / G) of the group and token r / (H / G).
struct AttentionTile {
  const SequenceView* view;
  int group;
  int first_row, rows;
  int first_span, spans;     // what any row sees
  std::size_t q_at;          // its first row in AttentionWork::q
  int parts;                 // how many share its spans
  std::size_t partials_at;   // where they leave their results in AttentionWork::partials
  int parts_left;            // index of the count of those that are not done
};

// Spans of a tile that one worker computes.
struct AttentionPart {
  int tile;
  int first_span, spans;
};

// New rows of one sequence that go to one block of the cache.
struct StoreChunk {
  const SequenceView* view;
  int token, tokens;
  std::size_t blocks_before;  // 16s of query rows of the sequences before it
};

// Memory of attention, kept between calls.
struct AttentionWork {
  explicit AttentionWork(int workers) : worker(workers) {}

  struct Worker {
    Buffer<float> scores, partials, state, row;
    Buffer<std::uint32_t> bits;
  };
  std::vector<Worker> worker;
  Buffer<float> q;         // per sequence and 16 of its rows, per group: [k_inputs, 16]
  Buffer<float> partials;  // of tiles with more than one part: [span, rows / 16][max, sum, acc]
  std::vector<AttentionTile> tiles;
  std::vector<AttentionPart> parts;
  Buffer<std::atomic<int>> parts_left;
  std::vector<StoreChunk> stores;
};

// qkv[T, H * D + G * D + G * U]: rotates q and k, scales v, writes k and v of every new row to the cache and keeps q.
void store_rows(const Machine& machine, const AttentionShape& shape, const Rotary& rotary, float value_scale,
                const std::vector<SequenceView>& views, const LayerCache& cache, const float* qkv, std::size_t ld,
                AttentionWork& work);

// The stored queries over the cached positions -> out[T, H * U].
void attend(const Machine& machine, const AttentionShape& shape, const float* sinks,
            const std::vector<SequenceView>& views, const LayerCache& cache, float* out, std::size_t out_ld,
            AttentionWork& work);

}  // namespace openmimo
