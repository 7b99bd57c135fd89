// The kernel table for neon. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <arm_neon.h>

#define OPENMIMO_NEON

namespace openmimo {
namespace {
#include "vector.inc"
#include "matmul.inc"
#include "pack.inc"
#include "rows.inc"
}  // namespace

extern const Kernels kNeonKernels = {"neon", matmul<TileF32>, matmul<TileBf16>, matmul<TileCodes<CodesQ8>>,
                                 matmul<TileCodes<CodesQ4>>, pack, softmax, rms_norm, quantize, silu_mul};
}  // namespace openmimo
