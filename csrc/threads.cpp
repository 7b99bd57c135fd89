#include "threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace openmimo {
namespace {

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

constexpr int kSpins = 1500;  // some tens of microseconds: longer than the gap between two jobs of a forward pass

}  // namespace

Pool::Pool(int threads) {
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

Pool::~Pool() {
  stop_ = true;
  ++signal_;
  signal_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::share(int count, Call call, void* self) {
  call_ = call;
  self_ = self;
  done_.store(0, std::memory_order_relaxed);
  // From here on workers may claim chunks; call_ and self_ stay as they are until every claimed chunk is done.
  ticket_.store(static_cast<std::uint64_t>(count) << 32, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    signal_.fetch_add(1, std::memory_order_seq_cst);
    signal_.notify_all();
  }
  while (work_once(0)) {
  }
  for (int spins = 0; done_.load(std::memory_order_acquire) != count; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

// Claims and runs one chunk; false when none is left.
bool Pool::work_once(int worker) {
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  if (static_cast<std::uint32_t>(ticket) >= ticket >> 32) return false;
  ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
  const std::uint32_t chunk = static_cast<std::uint32_t>(ticket);
  if (chunk >= ticket >> 32) return false;
  call_(self_, static_cast<int>(chunk), worker);
  done_.fetch_add(1, std::memory_order_release);
  return true;
}

void Pool::work(int worker) {
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (work_once(worker)) {
      spins = 0;
    } else if (++spins < kSpins) {
      pause();
    } else {
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      const std::uint32_t seen = signal_.load(std::memory_order_seq_cst);
      const std::uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
      const bool idle = static_cast<std::uint32_t>(ticket) >= ticket >> 32;
      if (idle && !stop_.load(std::memory_order_seq_cst)) signal_.wait(seen);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
      spins = 0;
    }
  }
}

}  // namespace openmimo
