#include "limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "tensor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace openmimo {
namespace {

constexpr int kStreams = 8;
constexpr int kRepeats = 5;
using Clock = std::chrono::steady_clock;

// Seconds from the first thread's start to the last one's end; every thread waits until all are there.
template <class Work>
double time_together(int threads, Work work) {
  std::atomic<int> waiting{threads};
  std::vector<Clock::time_point> begin(threads), end(threads);
  const auto run = [&](int thread) {
    waiting.fetch_sub(1);
    while (waiting.load() > 0) std::this_thread::yield();
    begin[thread] = Clock::now();
    work(thread);
    end[thread] = Clock::now();
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
  const auto first = *std::min_element(begin.begin(), begin.end());
  const auto last = *std::max_element(end.begin(), end.end());
  return std::chrono::duration<double>(last - first).count();
}

constexpr std::size_t kLine = 64;

// One word of each cache line: memory hands over the line, and plain code keeps up with it.
std::uint64_t read_lines(const std::byte* data, std::size_t bytes) {
  const std::size_t stream = bytes / kStreams;
  std::uint64_t sum[kStreams] = {};
  for (std::size_t at = 0; at < stream; at += kLine)
    for (int s = 0; s < kStreams; ++s) {
      std::uint64_t word;
      std::memcpy(&word, data + s * stream + at, sizeof word);
      sum[s] ^= word;
    }
  std::uint64_t total = 0;
  for (const std::uint64_t word : sum) total ^= word;
  return total;
}

constexpr long kRounds = 10'000'000;
constexpr int kAccumulators = 12;  // enough to hide the latency, few enough to stay in registers

// A group of instructions that the compiler can neither drop nor merge. `Step` names accumulator i of the loop.
#define OPENMIMO_REPEAT(STEP) \
  STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11)

#if defined(__x86_64__)
// Both functions are static and named here only, so that no newer instruction can leak into the rest of the program.
__attribute__((target("avx512f,avx512vnni"))) void dot_avx512(long rounds) {
  __m512i sum[kAccumulators], a = _mm512_set1_epi8(1), b = a;
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (long i = 0; i < rounds; ++i) {
#define OPENMIMO_STEP(I) asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum[I]) : "v"(a), "v"(b));
    OPENMIMO_REPEAT(OPENMIMO_STEP)
#undef OPENMIMO_STEP
  }
}

__attribute__((target("avx2"))) void dot_avx2(long rounds) {
  __m256i sum[kAccumulators], a = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1), pairs;
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (long i = 0; i < rounds; ++i) {
#define OPENMIMO_STEP(I)                                                                                     \
  asm volatile("vpmaddubsw %2, %2, %1\n\tvpmaddwd %3, %1, %1\n\tvpaddd %1, %0, %0" : "+x"(sum[I]), "=&x"(pairs) \
               : "x"(a), "x"(ones));
    OPENMIMO_REPEAT(OPENMIMO_STEP)
#undef OPENMIMO_STEP
  }
}
#elif defined(__aarch64__) && defined(__linux__)
__attribute__((target("arch=armv8.2-a+dotprod"))) void dot_arm(long rounds) {
  int32x4_t sum[kAccumulators];
  const int8x16_t a = vdupq_n_s8(1);
  for (int32x4_t& s : sum) s = vdupq_n_s32(0);
  for (long i = 0; i < rounds; ++i) {
#define OPENMIMO_STEP(I) asm volatile("sdot %0.4s, %1.16b, %1.16b" : "+w"(sum[I]) : "w"(a));
    OPENMIMO_REPEAT(OPENMIMO_STEP)
#undef OPENMIMO_STEP
  }
}
#endif

struct Dot {
  void (*run)(long rounds) = nullptr;
  int bytes = 0;  // inputs of one instruction
};

Dot widest_dot() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) return {dot_avx512, 64};
  if (__builtin_cpu_supports("avx2")) return {dot_avx2, 32};
#elif defined(__aarch64__) && defined(__linux__)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) return {dot_arm, 16};
#endif
  return {};
}

}  // namespace

double read_bandwidth(int threads, std::size_t bytes) {
  const std::size_t part = bytes / threads / (kLine * kStreams) * kLine * kStreams;
  const Arena memory(part * threads);
  std::atomic<std::uint64_t> sink{0};
  time_together(threads, [&](int thread) { std::memset(memory.data() + thread * part, 1, part); });
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat)
    best = std::min(best, time_together(threads, [&](int thread) {
                      sink ^= read_lines(memory.data() + thread * part, part);
                    }));
  return static_cast<double>(part) * threads / best;
}

double int8_peak(int threads) {
  const Dot dot = widest_dot();
  if (!dot.run) return 0;
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat)
    best = std::min(best, time_together(threads, [&](int) { dot.run(kRounds); }));
  return 2.0 * dot.bytes * kAccumulators * kRounds * threads / best;
}

}  // namespace openmimo
