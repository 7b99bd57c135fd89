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
constexpr int kSpan = 256;  // positions whose softmax is one pass; spans are merged in rising order

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

// Attention of R query rows of one key-value head over one span: the softmax over it alone.
//
// A cache block holds 16 positions of one head: keys as a panel [D][16 positions], then values as panels of 16 numbers
// [U / 16][16 positions][16], both in MatmulArgs' layouts with the inputs D and positions. int8 is [inputs][16] codes,
// and the block ends in [16] bf16 scales of keys and [16] of values.
struct SpanArgs {
  const std::byte* const* blocks = nullptr;  // [kSpan / 16]; those outside [begin, end) are not read
  int begin = 0, end = 0;                    // positions, from the span's start, that any row sees; not empty
  int k_inputs = 0;                          // D, even for bf16
  int v_panels = 0;
  std::size_t values_at = 0, scales_at = 0;  // where values and scales start in a block
  const float* q = nullptr;                  // [k_inputs, 16]: a column for each row, scaled
  int rows = 0;                              // R, at most 16
  const std::int32_t* lo = nullptr;          // [R], a row sees [lo, hi)
  const std::int32_t* hi = nullptr;
  float* scores = nullptr;  // [R, kSpan], working memory
  float* max = nullptr;     // [R], of the scores that the row sees
  float* sum = nullptr;     // [R], of their exponentials: 0 if it sees none
  float* acc = nullptr;     // [R, 16 * v_panels], of the values so weighted
};

// The softmax over the spans before takes in one more.
struct MergeArgs {
  int rows = 0;
  int width = 0;  // of an accumulator; a multiple of 16
  float* max = nullptr;
  float* sum = nullptr;
  float* acc = nullptr;
  const float* span_max = nullptr;
  const float* span_sum = nullptr;
  const float* span_acc = nullptr;
};

// Keys and values of position `at` of a block, 0 to 15. k and v are padded with zeros to a multiple of 16.
struct StoreArgs {
  std::byte* block = nullptr;
  int at = 0;
  int k_inputs = 0, v_panels = 0;
  std::size_t values_at = 0, scales_at = 0;
  const float* k = nullptr;
  const float* v = nullptr;
  std::uint32_t* work = nullptr;  // as long as the longer of k and v
};

struct Kernels {
  const char* name;
  void (*matmul_f32)(const MatmulArgs&);
  void (*matmul_bf16)(const MatmulArgs&);
  void (*matmul_q8)(const MatmulArgs&);
  void (*matmul_q4)(const MatmulArgs&);
  // Rounds rows to one panel's lanes; false: a weight is NaN or infinite and the kind has codes.
  bool (*pack)(const PackArgs&);
  // y[i] = x[i] * rsqrt(mean(x^2) + eps) * w[i]; padded is n rounded up to 32 and x is 0 there.
  void (*rms_norm)(const float* x, const float* w, float eps, int n, int padded, float* y);
  // Symmetric int8 in groups of 32; padded is a multiple of 32.
  void (*quantize)(const float* x, int padded, std::int8_t* q, float* scale, std::int32_t* offset);
  // y[i] = silu(gate[i]) * up[i] * weight; n is a multiple of 16.
  void (*silu_mul)(const float* gate, const float* up, float weight, int n, float* y);
  // By the number format of a cache, in the order of KvKind.
  void (*attend_span[3])(const SpanArgs&);
  void (*store[3])(const StoreArgs&);
  void (*merge_span)(const MergeArgs&);
};

extern const Kernels kPortableKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kNeonKernels;
extern const Kernels kDotprodKernels;

// The best table this machine runs; `name` (portable, avx2, avx512, neon, dotprod) asks for one, null or ""
// takes the best.
const Kernels& choose_kernels(const char* name);
bool has_kernels(const char* name);

}  // namespace openmimo
