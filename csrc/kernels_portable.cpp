// The kernel table for portable. See kernels.h; the sources are the .inc files.
#include "kernels.h"

namespace openmimo {
namespace {
#include "vector.inc"
#include "matmul.inc"
#include "rows.inc"
}  // namespace

extern const Kernels kPortableKernels = {"portable", matmul<TileF32>, matmul<TileBf16>, matmul<TileQ8>, softmax,
                                 rms_norm, quantize, silu_mul};
}  // namespace openmimo
