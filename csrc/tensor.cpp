#include "tensor.h"

#include <sys/mman.h>

namespace openmimo {

Arena::Arena(std::size_t bytes) : size_(bytes) {
  if (!bytes) return;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= (std::size_t{8} << 20)) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  data_ = std::unique_ptr<std::byte, Unmap>(static_cast<std::byte*>(p), Unmap{bytes});
}

void Unmap::operator()(std::byte* p) const { munmap(p, bytes); }

void Activations::resize(int rows, int width, bool with_codes) {
  const int new_ld = round_up(width, kGroup);
  const std::size_t n = static_cast<std::size_t>(rows) * new_ld;
  ld = new_ld;
  float* x = x_buffer.get(n);
  for (std::size_t r = 0; width < ld && r < static_cast<std::size_t>(rows); ++r)
    std::memset(x + r * ld + width, 0, sizeof(float) * (ld - width));
  if (!with_codes) return;
  q_buffer.get(n);
  scale_buffer.get(n / kGroup);
  offset_buffer.get(n / kGroup);
}

// Columns [first, first + columns) of one row; first is a multiple of 32.
void Activations::quantize_columns(const Kernels& kernels, std::int64_t r, int first, int columns) const {
  const std::int64_t at = r * ld + first;
  kernels.quantize(x_buffer.data() + at, round_up(columns, kGroup), q_buffer.data() + at,
                   scale_buffer.data() + at / kGroup, offset_buffer.data() + at / kGroup);
}

}  // namespace openmimo
