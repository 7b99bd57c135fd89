// Memory with a shape: packed matrices, activations and buffers that only grow.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "kernels.h"

namespace openmimo {

// Whether a weight is codes with group scales; its activations are then quantised too.
constexpr bool is_coded(Kind kind) { return kind == Kind::q8 || kind == Kind::q4; }

constexpr int round_up(int n, int step) { return (n + step - 1) / step * step; }

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

struct Unmap {
  std::size_t bytes = 0;
  void operator()(std::byte* p) const;
};

// Zero-filled memory whose pages are only taken when they are first written; 2 MiB aligned when it is large, so that
// the kernel can use huge pages.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t bytes);
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  std::unique_ptr<std::byte, Unmap> data_;
  std::size_t size_ = 0;
};

// Scratch memory that is kept between calls. Contents are lost when it grows.
template <class T>
class Buffer {
 public:
  T* get(std::size_t n) {
    if (n > capacity_) {
      const std::size_t bytes = (n * sizeof(T) + 63) / 64 * 64;
      capacity_ = 0;  // should the allocation fail, the next call must not believe in the memory that was given back
      data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
      if (!data_) throw std::bad_alloc();
      std::memset(static_cast<void*>(data_.get()), 0, bytes);
      capacity_ = bytes / sizeof(T);
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  std::unique_ptr<T, FreeDeleter> data_;
  std::size_t capacity_ = 0;
};

// A weight [outs, ins] in panels of 16 outputs; kernels.h has the layouts. Padding holds zeros.
struct Matrix {
  Kind kind = Kind::f32;
  int outs = 0;
  int ins = 0;
  std::byte* data = nullptr;

  int padded_ins() const { return kind == Kind::f32 ? ins : round_up(ins, kind == Kind::bf16 ? 2 : kGroup); }
  int groups() const { return (ins + kGroup - 1) / kGroup; }
  int panels() const { return (outs + kPanel - 1) / kPanel; }
  std::size_t panel_bytes() const {
    const std::size_t pairs = (groups() + 1) / 2;
    if (is_coded(kind)) return pairs * (kind == Kind::q8 ? kPairBytesQ8 : kPairBytesQ4);
    return static_cast<std::size_t>(padded_ins()) * kPanel * (kind == Kind::f32 ? 4 : 2);
  }
  std::size_t bytes() const { return panels() * panel_bytes(); }
};

// Rows of activations [rows, width], each padded with zeros to a multiple of 32, and their int8 form where a q8 or
// q4 weight reads them.
struct Activations {
  int ld = 0;
  Buffer<float> x_buffer;
  Buffer<std::int8_t> q_buffer;
  Buffer<float> scale_buffer;
  Buffer<std::int32_t> offset_buffer;

  void resize(int rows, int width, bool with_codes);
  float* row(std::int64_t r) const { return x_buffer.data() + r * ld; }
  void quantize_columns(const Kernels& kernels, std::int64_t row, int first, int columns) const;
};

}  // namespace openmimo
