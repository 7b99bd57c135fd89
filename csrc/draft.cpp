// Multi-token prediction: the part of the model that proposes tokens.
//
// For cached tokens x_0 .. x_(n-1) with trunk states h_0 .. h_(n-1) and a token x_n that was just chosen, head k's row
// at position i takes h_i and x_(i+1+k) and predicts x_(i+2+k). So the last row of head 0 takes x_n and gives draft
// d_1 = x_(n+1); head 1's takes d_1 and gives d_2; and so on. All heads read the same trunk states; only tokens chain.
// The rows of head k before n - k hold known tokens and stay in its cache. The k rows after them were computed from
// drafts; they are computed again next time.
#include <algorithm>
#include <stdexcept>

#include "choose.h"
#include "model.h"

namespace openmimo {
namespace {

constexpr int kMostBehind = 256;  // rows that heads without a window may fall behind before they catch up
constexpr int kFreshRows = 32;    // of a head that starts afresh: 64 or 128 gave no better drafts and cost more

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

}  // namespace

// Rows of one head, of one or more sequences.
struct Model::HeadPass {
  std::vector<std::int32_t> token_ids, starts{0}, first, slots, pages, wanted, keep;
  std::vector<const float*> states;  // [T], the trunk's state of each row
  int width = 0;                     // pages of a sequence

  BatchView view() const {
    return {static_cast<int>(token_ids.size()), static_cast<int>(first.size()), width, static_cast<int>(wanted.size()),
            token_ids.data(), starts.data(), first.data(), slots.data(), pages.data(), wanted.data()};
  }
};

void Model::start(int num_ids, int num_heads) {
  if (num_ids < 1 || num_ids > shape_.vocab)
    refuse("num_ids=" + std::to_string(num_ids) + " must be from 1 to " + std::to_string(shape_.vocab));
  if (num_heads < 0 || num_heads > shape_.num_mtp_layers)
    refuse("num_heads=" + std::to_string(num_heads) + " must be from 0 to " + std::to_string(shape_.num_mtp_layers));
  num_ids_ = num_ids;
  num_heads_ = num_heads;
  saved_.assign(num_heads ? num_slots_ : 0, {});
}

// Rows that a draft can depend on; 0: all.
int Model::head_reach() const {
  const int window = shape_.mtp_layer.attention.window;
  return window < 0 ? 0 : window + 1;
}

// After a forward pass: keeps the trunk's state of the first `keep` rows.
void Model::save_states(const SequenceView& view, int keep) {
  if (!num_heads_ || !keep) return;
  SavedStates& saved = saved_[view.slot];
  if (view.first == 0 || view.first != saved.end()) saved.restart(view.first, num_heads_, shape_.hidden);
  const int reach = head_reach(), skipped = reach ? std::max(0, keep - reach) : 0;
  if (skipped) saved.skip_to(view.first + skipped);
  for (int t = view.row + skipped; t < view.row + keep; ++t)
    write_state(t, saved.append(token_ids_[t]));
  forget_states(saved);
}

// The state that heads read, of row t of the last forward pass.
void Model::write_state(int t, float* to) {
  const float* row = work_.x.row(t);
  if (shape_.mtp_reads_post_norm) {
    row = work_.joined_row.get(work_.x.ld);
    machine_.kernels->rms_norm(work_.x.row(t), final_norm_.data(), shape_.norm_eps, shape_.hidden, work_.x.ld,
                               work_.joined_row.data());
  }
  std::copy_n(row, shape_.hidden, to);
}

void Model::forget_states(SavedStates& saved) const {
  int oldest = saved.end();
  for (const HeadProgress& head : saved.heads) oldest = std::min(oldest, head.final);
  if (const int reach = head_reach()) oldest = std::max(oldest, saved.end() - reach);
  saved.forget(oldest);
}

// Appends the rows of head k at positions [.., end) of sequence n; `drafts` follow its cached tokens and the last one.
void Model::add_rows(HeadPass& pass, int k, const BatchView& b, int n, int end, const std::int32_t* drafts) {
  SavedStates& saved = saved_[b.slots[n]];
  HeadProgress& head = saved.heads[k];
  const int reach = head_reach(), cached = saved.end();
  if (reach && end - head.final > reach) head.origin = head.final = end - std::min(reach, kFreshRows);
  const int first = std::min(head.final, end - 1);
  for (int i = first; i < end; ++i) {
    const int at = i + 1 + k;
    if (at < cached) {
      pass.token_ids.push_back(saved.token(at));
    } else {
      pass.token_ids.push_back(at == cached ? b.token_ids[b.starts[n]] : drafts[at - cached - 1]);
    }
    pass.states.push_back(saved.state(i));
  }
  const int final = std::max(first, std::min(end, cached - k));
  pass.keep.push_back(final - first);
  pass.first.push_back(first - head.origin);
  pass.slots.push_back(b.slots[n]);
  pass.width = b.pages;
  pass.pages.insert(pass.pages.end(), b.page_table + static_cast<std::size_t>(n) * b.pages,
                    b.page_table + static_cast<std::size_t>(n + 1) * b.pages);
  pass.starts.push_back(static_cast<std::int32_t>(pass.token_ids.size()));
  head.final = final;
}

// Before a forward pass: heads without a window run the rows that have piled up while nothing was drafted.
void Model::catch_up(const BatchView& b) {
  if (!num_heads_ || head_reach()) return;
  for (int n = 0; n < b.sequences; ++n) {
    SavedStates& saved = saved_[b.slots[n]];
    if (b.first[n] == 0 || b.first[n] != saved.end() || saved.end() - saved.first() < kMostBehind) continue;
    for (int k = 0; k < num_heads_; ++k) {
      const int end = saved.end() - 1 - k;  // the last row's token is known
      if (end <= saved.heads[k].final) continue;
      HeadPass pass;
      add_rows(pass, k, b, n, end, nullptr);
      const Pool::Pass awake(pool_);
      run_head(k, pass.view(), pass.states.data(), pass.keep.data());
    }
    forget_states(saved);
  }
}

void Model::draft(const BatchView& b, const std::int32_t* counts, std::int32_t* drafts) {
  check_loaded();
  check(b, any_pages_);
  if (b.tokens != b.sequences) refuse("a draft starts from one token of each sequence, the one chosen last");
  int most = 0;
  for (int n = 0; n < b.sequences; ++n) {
    const std::string who = "sequence " + std::to_string(n);
    if (counts[n] < 0 || counts[n] > num_heads_)
      refuse(who + ": " + std::to_string(counts[n]) + " drafts must be from 0 to " + std::to_string(num_heads_));
    if (counts[n] && (saved_[b.slots[n]].end() != b.first[n] || !b.first[n]))
      refuse(who + " is at position " + std::to_string(b.first[n]) + ", its slot has " +
             std::to_string(saved_[b.slots[n]].end()) + " tokens");
    most = std::max<int>(most, counts[n]);
  }
  const Pool::Pass awake(pool_);
  for (int k = 0; k < most; ++k) draft_one(k, b, counts, drafts);
  for (int n = 0; n < b.sequences; ++n)
    if (counts[n]) forget_states(saved_[b.slots[n]]);
}

// Draft k of every sequence that wants one -> drafts[N, num_heads]; -1 where the head's logits are not finite.
void Model::draft_one(int k, const BatchView& b, const std::int32_t* counts, std::int32_t* drafts) {
  HeadPass pass;
  for (int n = 0; n < b.sequences; ++n) {
    if (counts[n] <= k) continue;
    add_rows(pass, k, b, n, saved_[b.slots[n]].end(), drafts + static_cast<std::size_t>(n) * num_heads_);
    pass.wanted.push_back(pass.starts.back() - 1);
  }
  const BatchView rows = pass.view();
  run_head(k, rows, pass.states.data(), pass.keep.data());
  const std::size_t vocab = shape_.vocab;
  float* logits = work_.draft_logits.get(rows.wanted * vocab);
  score(heads_[k].final_norm, rows, logits);
  for (int n = 0, row = 0; n < b.sequences; ++n)
    if (counts[n] > k) drafts[static_cast<std::size_t>(n) * num_heads_ + k] = best_id(logits + vocab * row++, num_ids_);
}

void Model::head_logits(int k, const BatchView& b, const float* hidden, const std::int32_t* keep, float* logits) {
  check_loaded();
  if (k < 0 || k >= static_cast<int>(heads_.size()))
    refuse("head " + std::to_string(k) + " does not exist: the model has " + std::to_string(heads_.size()));
  check(b, heads_[k].layer.shape.attention.window < 0);
  for (int n = 0; n < b.sequences; ++n)
    if (keep[n] < 0 || keep[n] > b.starts[n + 1] - b.starts[n])
      refuse("keep_N[" + std::to_string(n) + "] = " + std::to_string(keep[n]) +
             " is not a number of that sequence's rows");
  std::vector<const float*> states(b.tokens);
  for (int t = 0; t < b.tokens; ++t) states[t] = hidden + static_cast<std::size_t>(t) * shape_.hidden;
  const Pool::Pass awake(pool_);
  run_head(k, b, states.data(), keep);
  score(heads_[k].final_norm, b, logits);
}

// Rows of head k through its block -> work_.x[T, C]; the first keep[n] rows of each sequence stay in its cache.
void Model::run_head(int k, const BatchView& b, const float* const* states, const std::int32_t* keep) {
  Head& head = heads_[k];
  const int blocks = view_batch(b, draft_views_);
  join_inputs(head, b, draft_views_, states);
  linear(machine_, head.projection, work_.joined, {b.tokens, 0, nullptr, nullptr}, work_.x.row(0), work_.x.ld, false);
  run_layer(head.layer, draft_views_, blocks, b.tokens);
  for (int n = 0; n < b.sequences; ++n) head.layer.cache.commit(draft_views_[n], keep[n]);
}

// Normed embedding and normed trunk state side by side, in the order of the family -> work_.joined[T, 2 C].
void Model::join_inputs(const Head& head, const BatchView& b, const std::vector<SequenceView>& views,
                        const float* const* states) {
  const bool with_codes = is_coded(kind_);
  Work& w = work_;
  const int c = shape_.hidden, padded = round_up(c, kGroup);
  w.joined.resize(b.tokens, 2 * c, with_codes);
  embed(b, w.x);
  if (!shape_.is_v2)
    for (const SequenceView& v : views)
      if (v.first == 0) std::fill_n(w.x.row(v.row), c, 0.0f);  // MiMo-7B feeds no embedding at position 0
  w.joined_row.get(2 * padded);
  float* trunk = w.joined_row.data();
  float* normed = trunk + padded;
  std::fill_n(trunk, padded, 0.0f);
  for (int t = 0; t < b.tokens; ++t) {
    float* row = w.joined.row(t);
    float* embedding = shape_.is_v2 ? row : row + c;
    float* state = shape_.is_v2 ? row + c : row;
    std::copy_n(states[t], c, trunk);
    machine_.kernels->rms_norm(w.x.row(t), head.embedding_norm.data(), shape_.norm_eps, c, padded, normed);
    std::copy_n(normed, c, embedding);
    machine_.kernels->rms_norm(trunk, head.hidden_norm.data(), shape_.norm_eps, c, padded, normed);
    std::copy_n(normed, c, state);
    if (with_codes) w.joined.quantize_columns(*machine_.kernels, t, 0, w.joined.ld);
  }
}

}  // namespace openmimo
