// What the machine itself can do: the figures that `openmimo bench` measures speed against.
#pragma once
#include <cstddef>

namespace openmimo {

// Bytes a second that `threads` threads read from memory together; the best of a few passes over `bytes`, which should
// exceed the last-level cache by far. Each thread follows several streams, as one alone does not keep memory busy.
double read_bandwidth(int threads, std::size_t bytes);

// int8 operations a second (a multiply-add is two) of the widest dot product that the kernels use here; 0 where there is
// no such instruction.
double int8_peak(int threads);

}  // namespace openmimo
