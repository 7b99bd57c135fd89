// The kernel table for avx2. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <immintrin.h>

namespace openmimo {
namespace {
#include "table.inc"
}  // namespace

extern constinit const Kernels kAvx2Kernels = make_table("avx2");
}  // namespace openmimo
