// The kernel table for avx512. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <immintrin.h>

namespace openmimo {
namespace {
#include "table.inc"
}  // namespace

extern constinit const Kernels kAvx512Kernels = make_table("avx512");
}  // namespace openmimo
