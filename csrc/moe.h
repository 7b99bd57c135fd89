// Feed-forward networks: one dense network, or a few chosen out of many.
#pragma once
#include "ops.h"

namespace openmimo {

struct RouterShape {
  int experts = 0;  // E
  int chosen = 0;   // K
  int groups = 1;
  int groups_kept = 1;
  bool normalise = true;
  float scale = 1.0f;
};

struct Expert {
  Matrix gate, up, down;  // [F, C], [F, C], [C, F]
};

struct FeedForward {
  Matrix router;           // [E, C], float32; no outputs when dense
  std::vector<float> correction;  // [E], used for the choice only
  std::vector<Expert> experts;    // one when dense
};

struct Choice {
  std::int32_t expert;
  float weight;
};

// logits[E] -> chosen[K], best first. Sigmoid scores; ties go to the lower expert.
void choose_experts(const RouterShape& shape, const float* logits, const float* correction, float* scores,
                    float* biased, Choice* chosen);

// Work arrays of a feed-forward pass, kept between calls.
struct FeedForwardScratch {
  Buffer<float> logits;                 // [T, E padded to panels]
  std::vector<std::vector<float>> scores;  // [2 E] per worker
  Buffer<Choice> chosen;                // [T, K]
  std::vector<std::int32_t> begin;      // [E + 1], where each expert's rows start
  std::vector<std::int32_t> active;     // experts that have rows
  std::vector<std::int32_t> rows;       // [T * K], token of each row, grouped by expert
  std::vector<float> weights;           // [T * K]
  Activations hidden;                   // [T * K, F]
  std::vector<Buffer<float>> up;        // per worker
};

// y[T, C] += the network(s) of x[T, C]
void feed_forward(const Machine& machine, const RouterShape& shape, const FeedForward& ffn, const Activations& x,
                  int rows, float* y, std::size_t y_ld, FeedForwardScratch& scratch);

}  // namespace openmimo
