#include "model.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "choose.h"

namespace openmimo {
namespace {

constexpr int kRowsPerNorm = 8;

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

std::string text(const std::vector<int>& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

int qkv_outs(const AttentionShape& a) { return a.heads * a.k_dim + a.kv_heads * (a.k_dim + a.v_dim); }

void check_range(const std::int32_t* values, int n, int limit, const char* what) {
  for (int i = 0; i < n; ++i)
    if (values[i] < 0 || values[i] >= limit)
      refuse(std::string(what) + "[" + std::to_string(i) + "] = " + std::to_string(values[i]) + " must be from 0 to " +
             std::to_string(limit - 1));
}

void check_rising(const std::int32_t* values, int n, const char* what) {
  for (int i = 1; i < n; ++i)
    if (values[i] <= values[i - 1]) refuse(std::string(what) + " must be strictly rising");
}

void check_router(const RouterShape& r) {
  if (r.chosen < 1 || r.groups < 1 || r.experts % r.groups || r.chosen > r.groups_kept * (r.experts / r.groups))
    refuse("num_experts_per_tok=" + std::to_string(r.chosen) + " does not fit " + std::to_string(r.experts) +
           " experts in " + std::to_string(r.groups) + " groups");
}

}  // namespace

// ---- construction -------------------------------------------------------------------------------------------------

Model::Model(const ModelShape& shape, Kind kind, KvKind kv, int threads, int num_slots, int num_pages,
             const char* instruction_set)
    : shape_(shape), kind_(kind), kv_(kv), num_slots_(num_slots), num_pages_(num_pages), pool_(threads),
      machine_{&choose_kernels(instruction_set), &pool_}, num_ids_(shape.vocab), work_(threads) {
  shape_matrix(embedding_, shape.vocab, shape.hidden, kind);
  if (!shape.is_tied) shape_matrix(lm_head_, shape.vocab, shape.hidden, kind);
  const int padded = round_up(shape.hidden, kGroup);
  final_norm_.assign(padded, 0.0f);
  layers_.resize(shape.layers.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) build_layer(layers_[i], shape.layers[i]);
  heads_.resize(shape.num_mtp_layers);
  for (Head& head : heads_) {
    for (auto* norm : {&head.embedding_norm, &head.hidden_norm, &head.final_norm}) norm->assign(padded, 0.0f);
    shape_matrix(head.projection, shape.hidden, 2 * shape.hidden, kind);
    build_layer(head.layer, shape.mtp_layer);
  }
  place_weights();
  place_caches();
  name_tensors();
}

void Model::shape_matrix(Matrix& m, int outs, int ins, Kind kind) {
  m = {kind, outs, ins, nullptr};
  matrices_.push_back(&m);
}

void Model::build_layer(Layer& layer, const LayerShape& shape) {
  const AttentionShape& a = shape.attention;
  const int padded = round_up(shape_.hidden, kGroup);
  layer.shape = shape;
  layer.attention_norm.assign(padded, 0.0f);
  layer.ffn_norm.assign(padded, 0.0f);
  shape_matrix(layer.qkv, qkv_outs(a), shape_.hidden, kind_);
  shape_matrix(layer.o, shape_.hidden, a.heads * a.v_dim, kind_);
  if (a.has_bias) layer.bias.assign(layer.qkv.panels() * kPanel, 0.0f);
  if (a.has_sink) layer.sinks.assign(a.heads, 0.0f);
  build_ffn(layer);
  layer.rotary = rotary_for(a);
  layer.cache = LayerCache(BlockLayout(kv_, a.kv_heads, a.k_dim, a.v_dim), a.window);
  any_pages_ = any_pages_ || a.window < 0;
}

void Model::build_ffn(Layer& layer) {
  const bool sparse = layer.shape.is_sparse;
  const int experts = sparse ? shape_.router.experts : 1;
  const int hidden = sparse ? shape_.expert_hidden : shape_.dense_hidden;
  if (sparse) {
    check_router(shape_.router);
    shape_matrix(layer.ffn.router, experts, shape_.hidden, Kind::f32);
    layer.ffn.correction.assign(experts, 0.0f);
  }
  layer.ffn.experts.resize(experts);
  for (Expert& expert : layer.ffn.experts) {
    shape_matrix(expert.gate, hidden, shape_.hidden, kind_);
    shape_matrix(expert.up, hidden, shape_.hidden, kind_);
    shape_matrix(expert.down, shape_.hidden, hidden, kind_);
  }
}

// One block of memory for all packed weights.
void Model::place_weights() {
  std::size_t bytes = 0;
  for (const Matrix* m : matrices_) bytes += (m->bytes() + 63) / 64 * 64;
  weights_ = Arena(bytes);
  std::byte* at = weights_.data();
  for (Matrix* m : matrices_) {
    m->data = at;
    at += (m->bytes() + 63) / 64 * 64;
  }
}

void Model::place_caches() {
  std::vector<LayerCache*> caches;
  for (Layer& layer : layers_) caches.push_back(&layer.cache);
  for (Head& head : heads_) caches.push_back(&head.layer.cache);
  cache_memory_.place(caches, num_slots_, num_pages_);
}

Rotary* Model::rotary_for(const AttentionShape& shape) {
  for (const auto& rotary : rotaries_)
    if (rotary->dims() == shape.rotary_dims && rotary->theta() == shape.rope_theta) return rotary.get();
  rotaries_.push_back(std::make_unique<Rotary>(shape.rotary_dims, shape.rope_theta));
  return rotaries_.back().get();
}

// ---- published tensor names -----------------------------------------------------------------------------------------

void Model::name_weight(const std::string& name, Matrix& matrix, int outs, int row) {
  by_name_[name] = tensors_.size();
  tensors_.push_back({name, {outs, matrix.ins}, &matrix, row, nullptr, false});
}

void Model::name_vector(const std::string& name, std::vector<float>& values, int n, int at) {
  by_name_[name] = tensors_.size();
  tensors_.push_back({name, {n}, nullptr, 0, values.data() + at, false});
}

void Model::name_tensors() {
  name_weight("model.embed_tokens.weight", embedding_, shape_.vocab);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    name_layer(layers_[i], "model.layers." + std::to_string(i) + ".", "post_attention_layernorm");
  name_vector("model.norm.weight", final_norm_, shape_.hidden);
  if (!shape_.is_tied) name_weight("lm_head.weight", lm_head_, shape_.vocab);
  for (std::size_t k = 0; k < heads_.size(); ++k) name_head(heads_[k], static_cast<int>(k));
}

void Model::name_layer(Layer& layer, const std::string& prefix, const char* ffn_norm) {
  const AttentionShape& a = layer.shape.attention;
  const int outs[3] = {a.heads * a.k_dim, a.kv_heads * a.k_dim, a.kv_heads * a.v_dim};
  const char* parts[3] = {"q_proj", "k_proj", "v_proj"};
  name_vector(prefix + "input_layernorm.weight", layer.attention_norm, shape_.hidden);
  for (int i = 0, row = 0; i < 3; row += outs[i++]) {
    name_weight(prefix + "self_attn." + parts[i] + ".weight", layer.qkv, outs[i], row);
    if (a.has_bias) name_vector(prefix + "self_attn." + parts[i] + ".bias", layer.bias, outs[i], row);
  }
  if (a.has_sink) name_vector(prefix + "self_attn.attention_sink_bias", layer.sinks, a.heads);
  name_weight(prefix + "self_attn.o_proj.weight", layer.o, shape_.hidden);
  name_vector(prefix + ffn_norm + ".weight", layer.ffn_norm, shape_.hidden);
  name_ffn(layer, prefix + "mlp.");
}

void Model::name_ffn(Layer& layer, const std::string& prefix) {
  if (layer.shape.is_sparse) {
    name_weight(prefix + "gate.weight", layer.ffn.router, layer.ffn.router.outs);
    name_vector(prefix + "gate.e_score_correction_bias", layer.ffn.correction, layer.ffn.router.outs);
  }
  for (std::size_t e = 0; e < layer.ffn.experts.size(); ++e) {
    Expert& expert = layer.ffn.experts[e];
    const std::string at = layer.shape.is_sparse ? prefix + "experts." + std::to_string(e) + "." : prefix;
    name_weight(at + "gate_proj.weight", expert.gate, expert.gate.outs);
    name_weight(at + "up_proj.weight", expert.up, expert.up.outs);
    name_weight(at + "down_proj.weight", expert.down, expert.down.outs);
  }
}

void Model::name_head(Head& head, int k) {
  const bool v2 = shape_.is_v2;
  const std::string prefix = (v2 ? "model.mtp.layers." : "model.mtp_layers.") + std::to_string(k) + ".";
  name_vector(prefix + (v2 ? "enorm" : "token_layernorm") + ".weight", head.embedding_norm, shape_.hidden);
  name_vector(prefix + (v2 ? "hnorm" : "hidden_layernorm") + ".weight", head.hidden_norm, shape_.hidden);
  name_weight(prefix + (v2 ? "eh_proj" : "input_proj") + ".weight", head.projection, shape_.hidden);
  name_layer(head.layer, prefix, v2 ? "pre_mlp_layernorm" : "post_attention_layernorm");
  name_vector(prefix + "final_layernorm.weight", head.final_norm, shape_.hidden);
}

TensorSlot& Model::slot(const std::string& name, const std::vector<int>& shape) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) refuse("the model has no tensor " + name);
  TensorSlot& s = tensors_[found->second];
  if (s.shape != shape) refuse(name + " has shape " + text(shape) + ", the config asks for " + text(s.shape));
  return s;
}

// 8 or 4 where a tensor is kept as codes, else 0.
int Model::code_bits(const std::string& name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) refuse("the model has no tensor " + name);
  const Matrix* m = tensors_[found->second].matrix;
  return !m || !is_coded(m->kind) ? 0 : m->kind == Kind::q8 ? 8 : 4;
}

void Model::set(const std::string& name, WeightRows values, const std::vector<int>& shape) {
  TensorSlot& s = slot(name, shape);
  if (s.matrix) {
    const RowRange range{s.row, shape[0]};
    std::atomic<bool> is_finite = true;
    pool_.run(range.panels(), static_cast<double>(shape[0]) * s.matrix->ins, [&](int panel, int) {
      if (!pack_panel(*machine_.kernels, *s.matrix, range, panel, values)) is_finite = false;
    });
    if (!is_finite) refuse(name + " holds NaN or infinite weights");
  } else {
    for (int i = 0; i < shape[0]; ++i) s.values[i] = values.f32 ? values.f32[i] : from_bf16(values.bf16[i]);
  }
  s.is_loaded = true;
}

void Model::set_codes(const std::string& name, const std::int8_t* codes, const float* scales,
                      const std::vector<int>& shape) {
  TensorSlot& s = slot(name, shape);
  if (!s.matrix || !is_coded(s.matrix->kind)) refuse(name + " is not kept as codes");
  const int ins = s.matrix->ins, groups = s.matrix->groups();
  std::atomic<bool> fits = true;
  pool_.run(shape[0], static_cast<double>(shape[0]) * ins, [&](int out, int) {
    if (!pack_codes(*s.matrix, s.row + out, codes + static_cast<std::size_t>(out) * ins,
                    scales + static_cast<std::size_t>(out) * groups))
      fits = false;
  });
  if (!fits) refuse(name + " holds codes outside -8 to 7");
  s.is_loaded = true;
}

void Model::check_loaded() {
  if (is_loaded_) return;
  for (const TensorSlot& s : tensors_)
    if (!s.is_loaded) refuse("tensor " + s.name + " was never set");
  is_loaded_ = true;
}

// ---- the batch ------------------------------------------------------------------------------------------------------

void Model::check(const BatchView& b, bool uses_pages) const {
  if (b.tokens < 1 || b.sequences < 1) refuse("a batch needs at least one token");
  check_range(b.token_ids, b.tokens, shape_.vocab, "token_ids_T");
  if (b.starts[0] != 0 || b.starts[b.sequences] != b.tokens) refuse("starts_N1 must run from 0 to T");
  check_rising(b.starts, b.sequences + 1, "starts_N1");
  check_range(b.wanted_rows, b.wanted, b.tokens, "wanted_B");
  check_rising(b.wanted_rows, b.wanted, "wanted_B");
  check_range(b.slots, b.sequences, num_slots_, "slots_N");
  for (int n = 0; n < b.sequences; ++n) check_sequence(b, n, uses_pages);
}

void Model::check_sequence(const BatchView& b, int n, bool uses_pages) const {
  const std::string who = "sequence " + std::to_string(n);
  for (int other = 0; other < n; ++other)
    if (b.slots[other] == b.slots[n]) refuse(who + " shares slot " + std::to_string(b.slots[n]) + " with another");
  const std::int64_t end = static_cast<std::int64_t>(b.first[n]) + b.starts[n + 1] - b.starts[n];
  if (b.first[n] < 0 || end > shape_.max_positions)
    refuse(who + " covers positions " + std::to_string(b.first[n]) + " to " + std::to_string(end - 1) +
           ", the model has 0 to " + std::to_string(shape_.max_positions - 1));
  if (!uses_pages) return;
  const std::int64_t needed = (end + kPage - 1) / kPage;
  if (needed > b.pages)
    refuse(who + " needs " + std::to_string(needed) + " pages, pages_NP has " + std::to_string(b.pages));
  check_range(b.page_table + static_cast<std::size_t>(n) * b.pages, static_cast<int>(needed), num_pages_, "pages_NP");
}

// Fills `views` and returns the number of scratch blocks that window layers need for this call.
int Model::view_batch(const BatchView& b, std::vector<SequenceView>& views) {
  views.resize(b.sequences);
  int blocks = 0, positions = 0;
  for (int n = 0; n < b.sequences; ++n) {
    SequenceView& v = views[n];
    v = {b.starts[n], b.starts[n + 1] - b.starts[n], b.first[n], b.slots[n],
         b.page_table + static_cast<std::size_t>(n) * b.pages, blocks, false};
    v.in_scratch = v.rows > kRingRows;
    blocks += scratch_blocks(v);
    positions = std::max(positions, v.first + v.rows);
  }
  for (const auto& rotary : rotaries_) rotary->cover(positions);
  return blocks;
}

// ---- forward --------------------------------------------------------------------------------------------------------

// token_ids[T] -> x[T, C]
void Model::embed(const BatchView& b, Activations& x) {
  x.resize(b.tokens, shape_.hidden, false);
  pool_.run(b.tokens, b.tokens * shape_.hidden * kTimePerValue,
            [&](int t, int) { unpack_row(embedding_, b.token_ids[t], x.row(t)); });
}

// x[T, C] -> y[T, C]
void Model::norm_rows(const Activations& x, const std::vector<float>& weight, Activations& y, int rows,
                      bool with_codes) {
  y.resize(rows, shape_.hidden, with_codes);
  const int chunks = (rows + kRowsPerNorm - 1) / kRowsPerNorm;
  pool_.run(chunks, rows * shape_.hidden * kTimePerValue, [&](int chunk, int) {
    for (int r = chunk * kRowsPerNorm; r < std::min(rows, (chunk + 1) * kRowsPerNorm); ++r) {
      machine_.kernels->rms_norm(x.row(r), weight.data(), shape_.norm_eps, shape_.hidden, y.ld, y.row(r));
      if (with_codes) y.quantize_columns(*machine_.kernels, r, 0, y.ld);
    }
  });
}

// work_.x[T, C] += attention, += feed-forward
void Model::run_layer(Layer& layer, const std::vector<SequenceView>& views, int scratch_blocks, int rows) {
  const AttentionShape& a = layer.shape.attention;
  const bool with_codes = is_coded(kind_);
  Work& w = work_;
  norm_rows(w.x, layer.attention_norm, w.normed, rows, with_codes);
  const std::size_t ld = static_cast<std::size_t>(layer.qkv.panels()) * kPanel;
  float* qkv = w.qkv.get(rows * ld);
  for (int r = 0; r < rows && a.has_bias; ++r) std::copy(layer.bias.begin(), layer.bias.end(), qkv + r * ld);
  linear(machine_, layer.qkv, w.normed, {rows, 0, nullptr, nullptr}, qkv, ld, a.has_bias);

  layer.cache.prepare(views, scratch_blocks);
  store_rows(machine_, a, *layer.rotary, shape_.value_scale, views, layer.cache, qkv, ld, w.attention);
  w.attended.resize(rows, a.heads * a.v_dim, with_codes);
  attend(machine_, a, a.has_sink ? layer.sinks.data() : nullptr, views, layer.cache, w.attended.row(0), w.attended.ld,
         w.attention);
  if (with_codes)
    pool_.run(rows, rows * w.attended.ld * kTimePerValue,
              [&](int r, int) { w.attended.quantize_columns(*machine_.kernels, r, 0, w.attended.ld); });
  linear(machine_, layer.o, w.attended, {rows, 0, nullptr, nullptr}, w.x.row(0), w.x.ld, true);

  norm_rows(w.x, layer.ffn_norm, w.normed, rows, with_codes);
  feed_forward(machine_, shape_.router, layer.ffn, w.normed, rows, w.x.row(0), w.x.ld, w.ffn);
}

// Norm and lm_head of the wanted rows of work_.x -> logits[B, V]
void Model::score(const std::vector<float>& norm, const BatchView& b, float* logits) {
  if (!b.wanted) return;
  const Matrix& head = shape_.is_tied ? embedding_ : lm_head_;
  const bool with_codes = is_coded(kind_);
  Activations& y = work_.normed;
  y.resize(b.wanted, shape_.hidden, with_codes);
  for (int i = 0; i < b.wanted; ++i) {
    machine_.kernels->rms_norm(work_.x.row(b.wanted_rows[i]), norm.data(), shape_.norm_eps, shape_.hidden, y.ld,
                               y.row(i));
    if (with_codes) y.quantize_columns(*machine_.kernels, i, 0, y.ld);
  }
  const std::size_t ld = static_cast<std::size_t>(head.panels()) * kPanel, vocab = shape_.vocab;
  float* to = ld == vocab ? logits : work_.logits.get(b.wanted * ld);
  linear(machine_, head, y, {b.wanted, 0, nullptr, nullptr}, to, ld, false);
  for (int i = 0; i < b.wanted && to != logits; ++i) std::copy_n(to + i * ld, vocab, logits + i * vocab);
}

int Model::num_sparse() const {
  return static_cast<int>(std::count_if(shape_.layers.begin(), shape_.layers.end(),
                                        [](const LayerShape& layer) { return layer.is_sparse; }));
}

// What the router of the last layer that ran chose -> routes[T, number `sparse`, K], best first
void Model::write_routes(int sparse, int rows, std::uint16_t* routes) const {
  const int chosen = shape_.router.chosen, layers = num_sparse();
  const Choice* from = work_.ffn.chosen.data();
  for (int t = 0; t < rows; ++t)
    for (int k = 0; k < chosen; ++k)
      routes[(static_cast<std::size_t>(t) * layers + sparse) * chosen + k] =
          static_cast<std::uint16_t>(from[static_cast<std::size_t>(t) * chosen + k].expert);
}

void Model::forward(const BatchView& b, float* logits, std::int32_t* best, float* hidden, std::uint16_t* routes) {
  check_loaded();
  views_.clear();  // a refused batch leaves nothing to commit
  check(b, any_pages_);
  catch_up(b);
  const int blocks = view_batch(b, views_);
  const Pool::Pass pass(pool_);
  embed(b, work_.x);
  int sparse = 0;
  for (Layer& layer : layers_) {
    run_layer(layer, views_, blocks, b.tokens);
    if (routes && layer.shape.is_sparse) write_routes(sparse++, b.tokens, routes);
  }
  token_ids_.assign(b.token_ids, b.token_ids + b.tokens);
  for (int t = 0; t < b.tokens && hidden; ++t) write_state(t, hidden + static_cast<std::size_t>(t) * shape_.hidden);
  score(final_norm_, b, logits);
  const std::size_t vocab = shape_.vocab;
  pool_.run(b.wanted, static_cast<double>(b.wanted) * vocab * 0.2,
            [&](int row, int) { best[row] = best_id(logits + row * vocab, num_ids_); });
}

void Model::commit(const std::int32_t* keep, int count) {
  if (count != static_cast<int>(views_.size()))
    refuse("keep_N has " + std::to_string(count) + " entries, the last forward had " + std::to_string(views_.size()) +
           " sequences");
  for (int n = 0; n < count; ++n)
    if (keep[n] < 0 || keep[n] > views_[n].rows)
      refuse("keep_N[" + std::to_string(n) + "] = " + std::to_string(keep[n]) + " must be from 0 to " +
             std::to_string(views_[n].rows) + ", the rows of that sequence in the last forward");
  for (Layer& layer : layers_)
    for (int n = 0; n < count; ++n) layer.cache.commit(views_[n], keep[n]);
  for (int n = 0; n < count; ++n) save_states(views_[n], keep[n]);
  views_.clear();
}

}  // namespace openmimo
