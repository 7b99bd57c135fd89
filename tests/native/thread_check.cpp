// The worker pool under load: jobs of every size in and out of passes, exceptions, pools that come and go.
// `scripts/check_sanitizers thread` runs it under ThreadSanitizer.
#include <cstdio>
#include <random>
#include <stdexcept>
#include <vector>

#include "../../csrc/threads.h"

using namespace openmimo;

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s\n", what);
}

// Each chunk reads what the caller wrote and what the job before left, and writes a place of its own.
void run_jobs(Pool& pool, int jobs, bool in_pass, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<long> values(100), scratch(pool.threads());
  long sum = 0, want = 0;
  for (int job = 0; job < jobs; ++job) {
    const int count = static_cast<int>(random() % values.size());
    const auto work = [&](int chunk, int worker) {
      values[chunk] += job + chunk;
      ++scratch[worker];
    };
    for (int chunk = 0; chunk < count; ++chunk) want += job + chunk;
    if (in_pass) {
      const Pool::Pass pass(pool);
      pool.run(count, 1e9, work);
    } else {
      pool.run(count, random() % 4 ? 1e9 : 0.0, work);
    }
  }
  for (const long value : values) sum += value;
  expect(sum == want, "every chunk ran once");
}

void run_throwing_jobs(Pool& pool, int jobs) {
  for (int job = 0; job < jobs; ++job) {
    bool is_caught = false;
    try {
      pool.run(40, 1e9, [&](int chunk, int) {
        if (chunk == job % 40) throw std::runtime_error("chunk");
      });
    } catch (const std::runtime_error&) {
      is_caught = true;
    }
    expect(is_caught, "an exception reaches the caller");
  }
  run_jobs(pool, 100, false, 9);
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 3, 5}) {
    Pool pool(threads);
    run_jobs(pool, 3000, false, 1);
    run_jobs(pool, 3000, true, 2);
    run_throwing_jobs(pool, 200);
  }
  for (int i = 0; i < 100; ++i) {
    Pool pool(1 + i % 4);
    run_jobs(pool, i % 3, i % 2, i);
  }
  std::printf(failures ? "%d checks failed\n" : "all checks passed\n", failures);
  return failures ? 1 : 0;
}
