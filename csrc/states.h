// What the multi-token-prediction heads of one sequence may still need of it: its newest tokens and trunk states.
#pragma once
#include <cstdint>
#include <vector>

namespace openmimo {

// Where a head stands. Its rows at positions [origin, final) lie in its cache and were computed from known tokens.
//
// A head is one block, so its keys and values at a position depend on that position alone. A head with a window
// therefore needs no row older than the window: one that fell further behind (a long prompt, or steps without drafts)
// starts afresh from there, as a shorter sequence. Rotary attention sees distances only, so nothing else changes.
struct HeadProgress {
  int origin = 0;
  int final = 0;
};

// Tokens and states of positions [first, end); end is the number of tokens in the trunk's caches.
class SavedStates {
 public:
  std::vector<HeadProgress> heads;

  int first() const { return first_; }
  int end() const { return first_ + static_cast<int>(tokens_.size()) - dropped_; }
  std::int32_t token(int position) const { return tokens_[dropped_ + position - first_]; }
  const float* state(int position) const { return states_.data() + (dropped_ + position - first_) * width_; }

  // A sequence begins at `position`, for heads that know nothing of it.
  void restart(int position, int num_heads, int width);
  // Goes on at `position`, past the end; what lies between is not kept.
  void skip_to(int position);
  // The next position; returns where its state goes.
  float* append(std::int32_t token);
  void forget(int before);

 private:
  std::size_t width_ = 0;
  int first_ = 0;
  int dropped_ = 0;  // entries at the front of both vectors that are forgotten
  std::vector<std::int32_t> tokens_;
  std::vector<float> states_;
};

}  // namespace openmimo
