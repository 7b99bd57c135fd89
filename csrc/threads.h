// A fixed pool of workers that share the chunks of one job at a time.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

namespace openmimo {

// The caller works too. Chunks are claimed from one counter, so a thread that the system has put aside delays only the
// chunk it holds. Which thread computes a chunk never changes its result: chunks write to separate memory.
class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls run(chunk, worker) for every chunk in [0, count) and returns when all are done. `cost` is a rough number of
  // multiply-adds: below kWorthSharing the caller does everything alone, without touching the other threads.
  template <class Run>
  void run(int count, double cost, Run&& run) {
    if (workers_.empty() || count < 2 || cost < kWorthSharing) {
      for (int chunk = 0; chunk < count; ++chunk) run(chunk, 0);
      return;
    }
    using Callable = std::remove_reference_t<Run>;
    share(count, [](void* self, int chunk, int worker) { (*static_cast<Callable*>(self))(chunk, worker); },
          const_cast<void*>(static_cast<const void*>(&run)));
  }

 private:
  using Call = void (*)(void*, int, int);
  static constexpr double kWorthSharing = 120e3;

  void share(int count, Call call, void* self);
  bool work_once(int worker);
  void work(int worker);

  std::vector<std::thread> workers_;
  Call call_ = nullptr;
  void* self_ = nullptr;
  alignas(64) std::atomic<std::uint64_t> ticket_{0};  // chunks in the job << 32 | next chunk
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<std::uint32_t> signal_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace openmimo
