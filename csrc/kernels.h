// The function table: every loop that is compiled once per instruction set.
//
// The kernel files are built with their own -m flags, so this header holds plain data only: an inline function here
// could be emitted with AVX-512 code and then be picked by the linker for the whole program.
#pragma once
#include <cstddef>
#include <cstdint>

namespace openmimo {

constexpr int kPanel = 16;  // outputs that lie side by side in a packed matrix
constexpr int kGroup = 32;  // inputs that share one scale
constexpr int kBlock = 64;  // positions in one block of a key-value cache

enum class Kind { f32, bf16, q8, q4 };

// y[R, 16 * panels] = x[R, ins] * w^T, or y += when `add` is set.
//
// A packed matrix is a row of panels. Panel layouts, for input i and lane o:
//   f32:  [ins][16]
//   bf16: [ins / 2][16][2], two inputs side by side
//   q8:   per two groups of 32 inputs [2][8][16][4] codes + 128 as bytes, then [16][2] bf16 scales
//   q4:   per two groups [2][4][16][4] bytes, then [16][2] bf16 scales / 16. Byte b of lane o of row k holds code + 8 of
//         input 4 k + b in its low half, of input 16 + 4 k + b in its high half. Moved to the high half of a byte, a code
//         is 16 code + 128: q4 is q8 with fewer codes and a smaller scale.
// So every 64 bytes hold 16 lanes of 4 bytes. A last single group takes the space of two.
// Each output is summed over i in rising order by one accumulator, whatever the number of rows or panels.
constexpr std::size_t kScaleBytes = kPanel * 2 * 2;                            // bf16 scales of two groups
constexpr std::size_t kPairBytesQ8 = 2 * kGroup * kPanel + kScaleBytes;      // 8.5 bits a weight
constexpr std::size_t kPairBytesQ4 = 2 * kGroup * kPanel / 2 + kScaleBytes;  // 4.5 bits a weight

struct MatmulArgs {
  const std::byte* w = nullptr;
  std::size_t panel_bytes = 0;
  int panels = 0;
  int ins = 0;  // padded: even for bf16, a multiple of 32 for q8 and q4

  const float* x = nullptr;  // [.., x_ld] for f32 and bf16 weights
  std::size_t x_ld = 0;
  const std::int8_t* q = nullptr;        // [.., x_ld] for q8 and q4 weights
  const float* q_scale = nullptr;        // [.., x_ld / 32]
  const std::int32_t* q_offset = nullptr;  // [.., x_ld / 32], -128 * the group's sum of codes
  const std::int32_t* x_index = nullptr;   // row r reads x row x_index[r]; null means r

  float* y = nullptr;
  std::size_t y_ld = 0;
  const std::int32_t* y_index = nullptr;  // row r writes y row y_index[r]; null means r
  int rows = 0;
  bool add = false;
};

// Rows [lanes, ins] -> lanes [first_lane, first_lane + lanes) of a panel; its other lanes stay as they are.
struct PackArgs {
  Kind kind = Kind::f32;
  const float* f32 = nullptr;  // the rows, in one of two types
  const std::uint16_t* bf16 = nullptr;
  int ins = 0;
  int first_lane = 0;
  int lanes = 0;
  std::byte* panel = nullptr;
};

// One block of online softmax for R rows: turns scores into weights and rescales what was accumulated before.
struct SoftmaxArgs {
  float* scores = nullptr;  // [R, 64]; positions outside [lo, hi) become 0
  int rows = 0;
  const std::int32_t* lo = nullptr;  // [R]
  const std::int32_t* hi = nullptr;  // [R]; hi <= lo: the row sees nothing of this block
  float* max = nullptr;              // [R], running maximum
  float* sum = nullptr;              // [R], running denominator
  float* acc = nullptr;              // [R, acc_ld], running numerator
  std::size_t acc_ld = 0;            // a multiple of 16
};

struct Kernels {
  const char* name;
  void (*matmul_f32)(const MatmulArgs&);
  void (*matmul_bf16)(const MatmulArgs&);
  void (*matmul_q8)(const MatmulArgs&);
  void (*matmul_q4)(const MatmulArgs&);
  // Rounds rows to one panel's lanes; false: a weight is NaN or infinite and the kind has codes.
  bool (*pack)(const PackArgs&);
  void (*softmax)(const SoftmaxArgs&);
  // y[i] = x[i] * rsqrt(mean(x^2) + eps) * w[i]; padded is n rounded up to 32 and x is 0 there.
  void (*rms_norm)(const float* x, const float* w, float eps, int n, int padded, float* y);
  // Symmetric int8 in groups of 32; padded is a multiple of 32.
  void (*quantize)(const float* x, int padded, std::int8_t* q, float* scale, std::int32_t* offset);
  // y[i] = silu(gate[i]) * up[i] * weight; n is a multiple of 16.
  void (*silu_mul)(const float* gate, const float* up, float weight, int n, float* y);
};

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

// The best table this machine runs; `name` (portable, avx2, avx512) asks for one, null or "" takes the best.
const Kernels& choose_kernels(const char* name);
bool has_kernels(const char* name);

}  // namespace openmimo
