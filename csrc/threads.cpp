#include "threads.h"

#include <algorithm>
#include <ctime>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace openmimo {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr auto kAwakeInPass = microseconds(200);  // how long a worker waits awake for the next job
constexpr auto kAwake = microseconds(10);         // the same outside of a pass
constexpr auto kPatience = microseconds(20);      // how long the caller waits awake for the last chunk, at least
constexpr auto kWindow = milliseconds(20);        // shared work between two judgements
constexpr auto kFirstRest = milliseconds(20);
constexpr auto kLongestRest = milliseconds(640);

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#else
  std::this_thread::yield();
#endif
}

// Waits awake until done() holds; false when that took longer than `limit`.
template <class Done>
bool spin(Clock::duration limit, Done&& done) {
  const auto end = Clock::now() + limit;
  do {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return false;
}

Clock::duration processor_time() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

std::uint64_t ticket(int begin, int end) { return static_cast<std::uint64_t>(end) << 32 | static_cast<unsigned>(begin); }
bool is_open(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket) < ticket >> 32; }

}  // namespace

// ---- rivalry --------------------------------------------------------------------------------------------------------

void Rivalry::begin_pass() {
  in_pass_ = true;
  mark_ = Clock::now();
  mark_cpu_ = processor_time();
}

void Rivalry::end_pass() {
  const auto now = Clock::now();
  count(now);
  in_pass_ = false;
  if (passed_ > kWindow) judge(now);
}

void Rivalry::look(Clock::time_point now) {
  if (!in_pass_ || passed_ + (now - mark_) < kWindow) return;
  count(now);
  judge(now);
}

void Rivalry::count(Clock::time_point now) {
  const auto cpu = processor_time();
  if (mark_ >= alone_until_) {
    passed_ += now - mark_;
    lost_ += now - mark_ - (cpu - mark_cpu_);
  }
  mark_ = now;
  mark_cpu_ = cpu;
}

void Rivalry::judge(Clock::time_point now) {
  const bool is_lost = lost_ > passed_ / 3;
  rest_ = is_lost ? std::clamp<Clock::duration>(2 * rest_, kFirstRest, kLongestRest) : Clock::duration{};
  alone_until_ = now + rest_;
  passed_ = lost_ = {};
}

// ---- pool -----------------------------------------------------------------------------------------------------------

Pool::Pool(int threads) : lanes_(threads) {
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

Pool::~Pool() {
  stop_ = true;
  for (Lane& lane : lanes_) wake(lane);
  for (std::thread& worker : workers_) worker.join();
}

void Pool::begin_pass() {
  if (workers_.empty()) return;
  rivalry_.begin_pass();
  if (rivalry_.is_lost(Clock::now())) return;
  in_pass_ = true;
  for (Lane& lane : lanes_) wake(lane);
}

void Pool::end_pass() {
  if (workers_.empty()) return;
  in_pass_ = false;
  rivalry_.end_pass();
}

void Pool::share(int count, Call call, void* self) {
  const auto start = Clock::now();
  call_ = call;
  self_ = self;
  done_.store(0, std::memory_order_relaxed);
  // From here on workers may claim chunks; call_ and self_ stay as they are until every claimed chunk is done.
  const int threads = static_cast<int>(lanes_.size());
  for (int worker = threads - 1; worker >= 0; --worker) {
    Lane& lane = lanes_[worker];
    const int begin = static_cast<int>(std::int64_t{count} * worker / threads);
    const int end = static_cast<int>(std::int64_t{count} * (worker + 1) / threads);
    lane.ticket.store(ticket(begin, end), std::memory_order_seq_cst);
    if (begin < end) wake(lane);
  }
  int mine = 0;
  for (Lane& lane : lanes_) mine += take(lane, 0);
  if (mine < count) wait_for_others(count - mine, (Clock::now() - start) / (mine + 1));
  rivalry_.look(Clock::now());
  if (has_error_.load(std::memory_order_relaxed)) {
    has_error_ = false;
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

// Runs what is left of one share; the number of chunks.
int Pool::take(Lane& lane, int worker) {
  int chunks = 0;
  while (is_open(lane.ticket.load(std::memory_order_acquire))) {
    const std::uint64_t claimed = lane.ticket.fetch_add(1, std::memory_order_acq_rel);
    if (!is_open(claimed)) break;
    run_chunk(static_cast<int>(static_cast<std::uint32_t>(claimed)), worker);
    ++chunks;
  }
  return chunks;
}

bool Pool::has_work() const {
  for (const Lane& lane : lanes_)
    if (is_open(lane.ticket.load(std::memory_order_seq_cst))) return true;
  return false;
}

void Pool::run_chunk(int chunk, int worker) noexcept {
  try {
    call_(self_, chunk, worker);
  } catch (...) {
    if (!has_error_.exchange(true)) error_ = std::current_exception();
  }
}

// A thread that is running finishes its chunk soon. One that is not may need the caller's processor, so the caller then
// sleeps.
void Pool::wait_for_others(int others, Clock::duration chunk_time) {
  if (spin(kPatience + 2 * chunk_time, [&] { return done_.load(std::memory_order_acquire) == others; })) return;
  for (int done; (done = done_.load(std::memory_order_acquire)) != others;) done_.wait(done, std::memory_order_acquire);
}

void Pool::finish(int chunks) {
  if (!chunks) return;
  done_.fetch_add(chunks, std::memory_order_acq_rel);
  done_.notify_one();
}

void Pool::wake(Lane& lane) {
  if (lane.asleep.load(std::memory_order_seq_cst) && lane.asleep.exchange(0)) lane.asleep.notify_one();
}

void Pool::work(int worker) {
  Lane& own = lanes_[worker];
  const auto wanted = [&] { return is_open(own.ticket.load(std::memory_order_acquire)); };
  while (!stop_.load(std::memory_order_relaxed)) {
    finish(take(own, worker));
    for (Lane& lane : lanes_) finish(take(lane, worker));
    // Spins first as if in a pass and then, should it have ended, gives up at once.
    bool found = spin(kAwake, wanted);
    const auto end = Clock::now() + kAwakeInPass;
    while (!found && in_pass_.load(std::memory_order_relaxed) && Clock::now() < end) found = spin(kAwake, wanted);
    if (!found) sleep(own);
  }
}

void Pool::sleep(Lane& lane) {
  lane.asleep.store(1, std::memory_order_seq_cst);
  if (!has_work() && !stop_.load(std::memory_order_seq_cst)) {
    while (lane.asleep.load(std::memory_order_acquire)) lane.asleep.wait(1, std::memory_order_acquire);
  }
  lane.asleep.store(0, std::memory_order_relaxed);
}

}  // namespace openmimo
