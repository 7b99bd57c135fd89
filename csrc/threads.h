// A fixed pool of workers that share the chunks of one job at a time.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <thread>
#include <type_traits>
#include <vector>

namespace openmimo {

using Clock = std::chrono::steady_clock;

// Tells whether other programs keep the pool's threads from running together, by the time in passes in which the caller
// did not run: because its processor was taken, or because it slept until a worker whose processor was taken came back.
// One thread by itself is faster than two that wait for each other by turns, so the pool then goes on without its
// workers for a while, and longer each time that trying again does not help.
class Rivalry {
 public:
  bool is_lost(Clock::time_point now) const { return now < alone_until_; }
  void begin_pass();
  void end_pass();
  // Judges once enough time was seen; called now and then in a pass.
  void look(Clock::time_point now);

 private:
  void count(Clock::time_point now);
  void judge(Clock::time_point now);

  Clock::time_point alone_until_{};
  Clock::duration rest_{};             // how long the caller works alone after the last judgement
  Clock::duration passed_{}, lost_{};  // since the last judgement, in passes with workers
  bool in_pass_ = false;
  Clock::time_point mark_{};  // what was before is counted
  Clock::duration mark_cpu_{};
};

// The caller works too. Each thread starts on a share of its own and then takes chunks from the others' shares, so a
// thread that the system has put aside delays only the chunk it holds. Which thread computes a chunk never changes its
// result: chunks write to separate memory.
class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // While a Pass lives, workers wait awake for the next job; outside of one they sleep and a job has to wake them.
  class Pass {
   public:
    explicit Pass(Pool& pool) : pool_(pool) { pool_.begin_pass(); }
    ~Pass() { pool_.end_pass(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Pool& pool_;
  };

  // Calls run(chunk, worker) for every chunk in [0, count) and returns when all are done. `nanoseconds` is roughly what
  // one thread needs for them all: the caller does short jobs alone. A chunk's exception is thrown here, when no chunk
  // runs any more.
  template <class Run>
  void run(int count, double nanoseconds, Run&& run) {
    if (workers_.empty() || count < 2 || nanoseconds < kWorthSharing || rivalry_.is_lost(Clock::now())) {
      for (int chunk = 0; chunk < count; ++chunk) run(chunk, 0);
      return;
    }
    using Callable = std::remove_reference_t<Run>;
    share(count, [](void* self, int chunk, int worker) { (*static_cast<Callable*>(self))(chunk, worker); },
          const_cast<void*>(static_cast<const void*>(&run)));
  }

 private:
  using Call = void (*)(void*, int, int);
  static constexpr double kWorthSharing = 3000;  // handing over a job takes both threads about 1000

  // One thread's share of the job, on a cache line of its own.
  struct alignas(64) Lane {
    std::atomic<std::uint64_t> ticket{0};  // end of the share << 32 | next chunk
    std::atomic<int> asleep{0};            // what its thread sleeps on
  };

  void begin_pass();
  void end_pass();
  void share(int count, Call call, void* self);
  int take(Lane& lane, int worker);
  bool has_work() const;
  void run_chunk(int chunk, int worker) noexcept;
  void wait_for_others(int others, Clock::duration chunk_time);
  void finish(int chunks);
  void wake(Lane& lane);
  void work(int worker);
  void sleep(Lane& lane);

  std::vector<Lane> lanes_;
  std::vector<std::thread> workers_;
  Rivalry rivalry_;
  Call call_ = nullptr;
  void* self_ = nullptr;
  std::exception_ptr error_;
  std::atomic<bool> has_error_{false};
  alignas(64) std::atomic<int> done_{0};  // chunks that workers have finished
  alignas(64) std::atomic<bool> in_pass_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace openmimo
