// The kernel table for portable. See kernels.h; the sources are the .inc files.
#include "kernels.h"

namespace openmimo {
namespace {
#include "vector.inc"
#include "matmul.inc"
#include "pack.inc"
#include "rows.inc"
}  // namespace

extern const Kernels kPortableKernels = {"portable", matmul<TileF32>, matmul<TileBf16>, matmul<TileCodes<CodesQ8>>,
                                 matmul<TileCodes<CodesQ4>>, pack, softmax, rms_norm, quantize, silu_mul};
}  // namespace openmimo
