// The kernel table for neon. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <arm_neon.h>

#define OPENMIMO_NEON

namespace openmimo {
namespace {
#include "table.inc"
}  // namespace

extern constinit const Kernels kNeonKernels = make_table("neon");
}  // namespace openmimo
