#include "choose.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace openmimo {
namespace {

constexpr int kLanes = 64;  // independent maxima, so that the compiler can keep them in vector registers

}  // namespace

std::int32_t best_id(const float* logits, int n) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  float high[kLanes];
  std::int32_t odd[kLanes] = {};
  std::fill_n(high, kLanes, kLowest);
  const int whole = n / kLanes * kLanes;
  for (int i = 0; i < whole; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) {
      const float x = logits[i + lane];
      high[lane] = x > high[lane] ? x : high[lane];
      odd[lane] |= x != x;
    }
  for (int i = whole; i < n; ++i) {
    high[0] = std::max(high[0], logits[i]);
    odd[0] |= logits[i] != logits[i];
  }
  const float best = *std::max_element(high, high + kLanes);
  std::int32_t any_odd = 0;
  for (const std::int32_t lane : odd) any_odd |= lane;
  if (any_odd || !std::isfinite(best)) return -1;
  return static_cast<std::int32_t>(std::find(logits, logits + n, best) - logits);
}

}  // namespace openmimo
