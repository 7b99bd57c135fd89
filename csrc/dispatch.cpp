// Which function table this machine runs.
#include <cstring>
#include <stdexcept>
#include <string>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

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
#elif defined(__aarch64__)
bool has_dotprod() {
#if defined(__linux__)
  return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
  return false;
#endif
}
const Choice kChoices[] = {{&kDotprodKernels, has_dotprod}, {&kNeonKernels, always}, {&kPortableKernels, always}};
#else
const Choice kChoices[] = {{&kPortableKernels, always}};
#endif

std::string available() {
  std::string names;
  for (const Choice& choice : kChoices)
    if (choice.runs()) names += (names.empty() ? "" : ", ") + std::string(choice.kernels->name);
  return names;
}

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
                              "' is not available on this machine: use one of " + available() + ", or leave it out");
}

}  // namespace openmimo
