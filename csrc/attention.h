// Attention of new rows over a layer's cache.
#pragma once
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

// Memory of one worker, kept between calls.
struct AttentionScratch {
  Buffer<float> q, scores, acc, state;
  Buffer<std::int32_t> range;
};

// qkv[T, H * D + G * D + G * U]: rotates q and k, scales v, and writes k and v of every new row to the cache.
void store_keys_values(const Machine& machine, const AttentionShape& shape, const Rotary& rotary, float value_scale,
                       const std::vector<SequenceView>& views, const LayerCache& cache, float* qkv, std::size_t ld);

// q in qkv[T, ..] over the cached positions -> out[T, H * U].
void attend(const Machine& machine, const AttentionShape& shape, const float* sinks,
            const std::vector<SequenceView>& views, const LayerCache& cache, const float* qkv, std::size_t ld,
            float* out, std::size_t out_ld, std::vector<AttentionScratch>& scratch);

}  // namespace openmimo
