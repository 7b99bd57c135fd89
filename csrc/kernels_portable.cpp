// The kernel table for portable. See kernels.h; the sources are the .inc files.
#include "kernels.h"

namespace openmimo {
namespace {
#include "table.inc"
}  // namespace

extern constinit const Kernels kPortableKernels = make_table("portable");
}  // namespace openmimo
