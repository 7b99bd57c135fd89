// A loaded model: weights, caches and the forward pass over a ragged batch of tokens.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "attention.h"
#include "moe.h"
#include "quant.h"
#include "states.h"

namespace openmimo {

struct LayerShape {
  AttentionShape attention;
  bool is_sparse = false;
};

struct ModelShape {
  bool is_v2 = true;  // tensor names and the form of the multi-token-prediction heads; else MiMo-7B
  int vocab = 0;
  int hidden = 0;
  int dense_hidden = 0;
  int expert_hidden = 0;
  int max_positions = 0;
  std::vector<LayerShape> layers;
  LayerShape mtp_layer;
  int num_mtp_layers = 0;
  bool mtp_reads_post_norm = false;
  bool is_tied = false;
  float norm_eps = 1e-5f;
  float value_scale = 1.0f;
  RouterShape router;
};

// New tokens of N sequences laid end to end; openmimo/batch.py describes the fields.
struct BatchView {
  int tokens = 0;     // T
  int sequences = 0;  // N
  int pages = 0;      // P, pages per sequence
  int wanted = 0;     // B
  const std::int32_t* token_ids = nullptr;  // [T]
  const std::int32_t* starts = nullptr;     // [N + 1]
  const std::int32_t* first = nullptr;      // [N]
  const std::int32_t* slots = nullptr;      // [N]
  const std::int32_t* page_table = nullptr;  // [N, P]
  const std::int32_t* wanted_rows = nullptr;  // [B]
};

// One tensor that the model asks for, under its published name.
struct TensorSlot {
  std::string name;
  std::vector<int> shape;
  Matrix* matrix = nullptr;  // a weight, packed; `row` is where it starts (q, k and v share one matrix)
  int row = 0;
  float* values = nullptr;  // a vector, kept in float32
  bool is_loaded = false;
};

class Model {
 public:
  Model(const ModelShape& shape, Kind kind, KvKind kv, int threads, int num_slots, int num_pages, const char* instruction_set);

  const std::vector<TensorSlot>& tensors() const { return tensors_; }
  int code_bits(const std::string& name) const;
  void set(const std::string& name, WeightRows values, const std::vector<int>& shape);
  void set_codes(const std::string& name, const std::int8_t* codes, const float* scales,
                 const std::vector<int>& shape);

  // Before the first forward: ids that may be generated, and heads that will draft (0: no state is kept for them).
  void start(int num_ids, int num_heads);
  // logits[B, V], best[B], see best_id; hidden[T, C] or null; routes[T, sparse layers, K], the chosen experts, or null
  void forward(const BatchView& batch, float* logits, std::int32_t* best, float* hidden, std::uint16_t* routes);
  // keep[N], rows of each sequence of the last forward
  void commit(const std::int32_t* keep, int count);
  // One row for each sequence, its token chosen last; counts[N] -> drafts[N, num_heads of start]
  void draft(const BatchView& batch, const std::int32_t* counts, std::int32_t* drafts);
  // hidden[T, C], keep[N] -> logits[B, V]
  void head_logits(int head, const BatchView& batch, const float* hidden, const std::int32_t* keep, float* logits);

  const ModelShape& shape() const { return shape_; }
  int num_sparse() const;
  const char* instruction_set() const { return machine_.kernels->name; }
  int num_heads() const { return num_heads_; }
  int threads() const { return pool_.threads(); }
  std::size_t weight_bytes() const { return weights_.size(); }
  std::size_t cache_bytes() const { return cache_memory_.bytes(); }

 private:
  struct Layer {
    LayerShape shape;
    std::vector<float> attention_norm, ffn_norm;  // [C]
    Matrix qkv;                                   // [H * D + G * D + G * U, C]
    std::vector<float> bias;                      // same outputs, or empty
    std::vector<float> sinks;                     // [H] or empty
    Matrix o;                                     // [C, H * U]
    FeedForward ffn;
    Rotary* rotary = nullptr;
    LayerCache cache;
  };
  struct Head {
    std::vector<float> embedding_norm, hidden_norm, final_norm;  // [C]
    Matrix projection;                                           // [C, 2 C]
    Layer layer;
  };
  struct Work {
    explicit Work(int workers) : attention(workers) {}

    Activations x;        // residual stream [T, C]
    Activations normed;   // [T, C]
    Activations joined;   // [T, 2 C], input of a head's projection
    Activations attended;  // [T, H * U]
    Buffer<float> qkv;    // [T, H * D + G * D + G * U]
    Buffer<float> logits;
    Buffer<float> draft_logits;
    Buffer<float> joined_row;  // one row of a head's input in the making
    AttentionWork attention;
    FeedForwardScratch ffn;
  };

  void shape_matrix(Matrix& m, int outs, int ins, Kind kind);
  void build_layer(Layer& layer, const LayerShape& shape);
  void build_ffn(Layer& layer);
  void place_weights();
  void place_caches();
  Rotary* rotary_for(const AttentionShape& shape);

  void name_tensors();
  void name_layer(Layer& layer, const std::string& prefix, const char* ffn_norm);
  void name_ffn(Layer& layer, const std::string& prefix);
  void name_head(Head& head, int k);
  void name_weight(const std::string& name, Matrix& matrix, int outs, int row = 0);
  void name_vector(const std::string& name, std::vector<float>& values, int n, int at = 0);
  TensorSlot& slot(const std::string& name, const std::vector<int>& shape);

  void check(const BatchView& batch, bool uses_pages) const;
  void check_sequence(const BatchView& batch, int n, bool uses_pages) const;
  void check_loaded();
  int view_batch(const BatchView& batch, std::vector<SequenceView>& views);
  void embed(const BatchView& batch, Activations& x);
  void run_layer(Layer& layer, const std::vector<SequenceView>& views, int scratch_blocks, int rows);
  void write_routes(int sparse, int rows, std::uint16_t* routes) const;
  void norm_rows(const Activations& x, const std::vector<float>& weight, Activations& y, int rows, bool with_codes);
  void score(const std::vector<float>& norm, const BatchView& batch, float* logits);

  struct HeadPass;
  int head_reach() const;
  void save_states(const SequenceView& view, int keep);
  void write_state(int t, float* to);
  void forget_states(SavedStates& saved) const;
  void catch_up(const BatchView& batch);
  void add_rows(HeadPass& pass, int k, const BatchView& batch, int n, int end, const std::int32_t* drafts);
  void draft_one(int k, const BatchView& batch, const std::int32_t* counts, std::int32_t* drafts);
  void run_head(int k, const BatchView& batch, const float* const* states, const std::int32_t* keep);
  void join_inputs(const Head& head, const BatchView& batch, const std::vector<SequenceView>& views,
                   const float* const* states);

  ModelShape shape_;
  Kind kind_;
  KvKind kv_;
  int num_slots_, num_pages_;
  Pool pool_;
  Machine machine_;
  std::vector<std::unique_ptr<Rotary>> rotaries_;
  std::vector<Matrix*> matrices_;
  Arena weights_;
  Matrix embedding_, lm_head_;
  std::vector<float> final_norm_;
  std::vector<Layer> layers_;
  std::vector<Head> heads_;
  CacheMemory cache_memory_;
  bool any_pages_ = false;

  std::vector<TensorSlot> tensors_;
  std::unordered_map<std::string, std::size_t> by_name_;
  bool is_loaded_ = false;

  int num_ids_ = 0, num_heads_ = 0;
  std::vector<SequenceView> views_, draft_views_;
  std::vector<std::int32_t> token_ids_;  // [T] of the last forward
  std::vector<SavedStates> saved_;       // of each slot, if heads draft
  Work work_;
};

}  // namespace openmimo
