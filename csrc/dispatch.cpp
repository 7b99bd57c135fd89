// Which function table this machine runs.
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace openmimo {
namespace {

struct Choice {
  const Kernels* kernels;
  bool (*runs)();
};

bool always() { return true; }

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
const Choice kChoices[] = {
    {&kAvx512Kernels, has_avx512}, {&kAvx2Kernels, has_avx2}, {&kPortableKernels, always}};
#else
const Choice kChoices[] = {{&kPortableKernels, always}};
#endif

}  // namespace

bool has_kernels(const char* name) {
  for (const Choice& choice : kChoices)
    if (!std::strcmp(choice.kernels->name, name)) return choice.runs();
  return false;
}

const Kernels& choose_kernels(const char* name) {
  for (const Choice& choice : kChoices)
    if (choice.runs() && (!name || !*name || !std::strcmp(choice.kernels->name, name))) return *choice.kernels;
  throw std::invalid_argument("instruction set '" + std::string(name) +
                              "' is not available on this machine: use portable, avx2 or avx512, or leave it out");
}

}  // namespace openmimo
