// The kernel table for avx2. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <immintrin.h>

namespace openmimo {
namespace {
#include "vector.inc"
#include "matmul.inc"
#include "rows.inc"
}  // namespace

extern const Kernels kAvx2Kernels = {"avx2", matmul<TileF32>, matmul<TileBf16>, matmul<TileQ8>, softmax,
                                 rms_norm, quantize, silu_mul};
}  // namespace openmimo
