// The most likely token of a row of logits.
#pragma once
#include <cstdint>

namespace openmimo {

// The lowest id among the highest of logits[n]; -1 if one of them is NaN or the highest is infinite.
std::int32_t best_id(const float* logits, int n);

}  // namespace openmimo
