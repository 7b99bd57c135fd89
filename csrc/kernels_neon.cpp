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
#include "attend.inc"
}  // namespace

extern const Kernels kNeonKernels = {"neon", matmul<TileF32>, matmul<TileBf16>, matmul_codes<CodesQ8>,
                                 matmul_codes<CodesQ4>, pack, rms_norm, quantize, silu_mul,
                                 {attend_span<F32Panel>, attend_span<Bf16Panel>, attend_span<Int8Panel>},
                                 {store_f32, store_bf16, store_int8}, merge_span};
}  // namespace openmimo
