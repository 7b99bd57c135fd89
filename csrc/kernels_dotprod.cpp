// The kernel table for dotprod. See kernels.h; the sources are the .inc files.
#include "kernels.h"

#include <arm_neon.h>

#define OPENMIMO_NEON

namespace openmimo {
namespace {
#include "table.inc"
}  // namespace

extern constinit const Kernels kDotprodKernels = make_table("dotprod");
}  // namespace openmimo
