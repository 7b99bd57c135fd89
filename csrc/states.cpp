#include "states.h"

namespace openmimo {
namespace {

constexpr int kMostDropped = 256;  // forgotten entries are moved out together

}  // namespace

void SavedStates::restart(int position, int num_heads, int width) {
  heads.assign(num_heads, {position, position});
  width_ = width;
  skip_to(position);
}

void SavedStates::skip_to(int position) {
  tokens_.clear();
  states_.clear();
  dropped_ = 0;
  first_ = position;
}

float* SavedStates::append(std::int32_t token) {
  tokens_.push_back(token);
  states_.resize(tokens_.size() * width_);
  return states_.data() + states_.size() - width_;
}

void SavedStates::forget(int before) {
  if (before <= first_) return;
  dropped_ += before - first_;
  first_ = before;
  if (dropped_ < kMostDropped) return;
  tokens_.erase(tokens_.begin(), tokens_.begin() + dropped_);
  states_.erase(states_.begin(), states_.begin() + static_cast<std::ptrdiff_t>(dropped_ * width_));
  dropped_ = 0;
}

}  // namespace openmimo
