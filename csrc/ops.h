// Products of activations with a weight, and rotary positions.
#pragma once
#include <algorithm>
#include <vector>

#include "tensor.h"
#include "threads.h"

namespace openmimo {

// Roughly what one thread needs for x[rows, ins] * w^T, in nanoseconds: its weights' way from the cache or its sums.
inline double product_time(const Matrix& w, double rows) {
  return std::max(static_cast<double>(w.bytes()) / 20, rows * w.outs * w.ins / 100);
}
// The same for loops over rows of activations.
constexpr double kTimePerValue = 0.5;

// What every layer works with: the function table and the workers.
struct Machine {
  const Kernels* kernels;
  Pool* pool;
};

// Which rows a product reads and writes: `count` of them, counted from `first`.
struct Rows {
  int count = 0;
  int first = 0;
  const std::int32_t* in = nullptr;   // null: row r reads row r
  const std::int32_t* out = nullptr;  // null: row r writes row r
};

// y[.., out column 0 at panel `first`] (+)= x * w^T for panels [first, first + panels) of w, on the calling thread.
void multiply(const Kernels& kernels, const Matrix& w, int first, int panels, const Activations& x, const Rows& rows,
              float* y, std::size_t y_ld, bool add);

// y[R, outs] (+)= x[R, ins] * w^T, shared among the workers.
void linear(const Machine& machine, const Matrix& w, const Activations& x, const Rows& rows, float* y,
            std::size_t y_ld, bool add);

// cos and sin of position * theta^(-2j / R), grown as positions come up.
class Rotary {
 public:
  Rotary(int dims, float theta);
  int dims() const { return dims_; }
  float theta() const { return theta_; }
  void cover(int positions);
  // Rotates the pairs (j, j + R / 2) of one head's first R values.
  void rotate(int position, float* head) const;

 private:
  int dims_;
  float theta_;
  std::vector<float> frequency_;
  std::vector<float> table_;  // [positions, R / 2, 2]
};

}  // namespace openmimo
