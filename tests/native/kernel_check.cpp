// Every kernel table that this machine runs against plain loops in float64, and a small model against the portable
// table. Needs no Python, so it can be cross-compiled and run under an emulator: scripts/check_arm.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/model.h"

using namespace openmimo;

namespace {

constexpr const char* kTables[] = {"portable", "avx2", "avx512", "neon", "dotprod"};
constexpr Kind kKinds[] = {Kind::f32, Kind::bf16, Kind::q8, Kind::q4};
constexpr const char* kKindNames[] = {"f32", "bf16", "q8", "q4"};
const char* name_of(Kind kind) { return kKindNames[static_cast<int>(kind)]; }

int failures = 0;

void expect(bool holds, const std::string& what, double error = 0) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s (error %.3g)\n", what.c_str(), error);
}

std::vector<float> random_numbers(std::size_t n, unsigned seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(n);
  for (float& x : numbers) x = normal(generator) * scale;
  return numbers;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::isfinite(a[i]) ? std::fabs(double{a[i]} - double{b[i]}) : 1e30);
  return largest;
}

// A weight with memory of its own, packed by one table.
struct Packed {
  Packed(const Kernels& kernels, Kind kind, int outs, int ins, const std::vector<float>& w) : matrix{kind, outs, ins} {
    memory = Arena(matrix.bytes());
    matrix.data = memory.data();
    const RowRange all{0, outs};
    for (int panel = 0; panel < all.panels(); ++panel)
      expect(pack_panel(kernels, matrix, all, panel, {w.data(), nullptr}), "pack");
  }
  Matrix matrix;
  Arena memory;
};

void check_matmul(const Kernels& kernels, Kind kind, int rows, int ins, int outs) {
  const std::string what = std::string(kernels.name) + " matmul " + name_of(kind) + " " + std::to_string(rows) + "x" +
                           std::to_string(ins) + "x" + std::to_string(outs);
  const bool has_codes = kind == Kind::q8 || kind == Kind::q4;
  const auto w = random_numbers(static_cast<std::size_t>(outs) * ins, 1), x = random_numbers(rows * ins, 2);
  const Packed packed(kernels, kind, outs, ins, w), twin(choose_kernels("portable"), kind, outs, ins, w);
  expect(!std::memcmp(packed.matrix.data, twin.matrix.data, packed.matrix.bytes()), what + ": packs as portable does");

  Activations a;
  a.resize(rows, ins, has_codes);
  for (int r = 0; r < rows; ++r) {
    std::copy_n(x.data() + r * ins, ins, a.row(r));
    if (has_codes) a.quantize_columns(kernels, r, 0, a.ld);
  }
  const int ld = packed.matrix.panels() * kPanel;
  std::vector<float> y(rows * ld), want(rows * ld), bound(rows * ld);
  multiply(kernels, packed.matrix, 0, packed.matrix.panels(), a, {rows}, y.data(), ld, false);
  std::vector<float> row(ins);
  double worst = 0;
  for (int o = 0; o < outs; ++o) {
    unpack_row(packed.matrix, o, row.data());
    for (int r = 0; r < rows; ++r) {
      double sum = 0, size = 0;
      for (int i = 0; i < ins; ++i) {
        const std::size_t at = static_cast<std::size_t>(r) * a.ld + i;
        const double xi = has_codes ? a.q_buffer.data()[at] * double{a.scale_buffer.data()[at / kGroup]}
                                    : double{a.x_buffer.data()[at]};
        sum += xi * row[i];
        size += std::fabs(xi * row[i]);
      }
      worst = std::max(worst, std::fabs(sum - y[r * ld + o]) / (size + 1e-6));
    }
  }
  expect(worst < 1e-6 * (2 + std::sqrt(ins)), what, worst);
}

void check_rows(const Kernels& kernels) {
  const std::string who = kernels.name;
  const int n = 90, padded = 96;
  auto x = random_numbers(padded, 3, 2.0f), w = random_numbers(padded, 4);
  std::fill(x.begin() + n, x.end(), 0.0f);

  std::vector<float> y(padded), want(padded);
  kernels.rms_norm(x.data(), w.data(), 1e-5f, n, padded, y.data());
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  for (int i = 0; i < padded; ++i) want[i] = static_cast<float>(x[i] / std::sqrt(squares / n + 1e-5) * w[i]);
  expect(largest_difference(y, want) < 1e-5, who + " rms_norm", largest_difference(y, want));

  std::vector<std::int8_t> q(padded), portable_q(padded);
  std::vector<float> scale(padded / kGroup), portable_scale(padded / kGroup);
  std::vector<std::int32_t> offset(padded / kGroup), portable_offset(padded / kGroup);
  kernels.quantize(x.data(), padded, q.data(), scale.data(), offset.data());
  choose_kernels("portable").quantize(x.data(), padded, portable_q.data(), portable_scale.data(),
                                      portable_offset.data());
  expect(q == portable_q && scale == portable_scale && offset == portable_offset, who + " quantize: as portable does");
  for (int i = 0; i < padded; ++i) {
    const double error = std::fabs(q[i] * double{scale[i / kGroup]} - x[i]);
    expect(error <= 0.501 * scale[i / kGroup], who + " quantize: the nearest code", error);
  }

  auto gate = random_numbers(padded, 5, 6.0f);
  gate[0] = 200, gate[1] = -200, gate[2] = 0, gate[3] = -88;
  kernels.silu_mul(gate.data(), w.data(), 0.5f, padded, y.data());
  for (int i = 0; i < padded; ++i) {
    const double exact = gate[i] / (1 + std::exp(-double{gate[i]})) * w[i] * 0.5, error = std::fabs(y[i] - exact);
    expect(error <= 3e-6 * std::fabs(exact) + 1e-7, who + " silu_mul", error);
  }
}

// Five rows that see different parts of a span; keys and values go through the cache's own format.
struct Span {
  static constexpr int kRows = 5, kKeyDims = 20, kValueDims = 12, kPositions = 112;
  std::vector<float> max, sum, acc;

  Span(const Kernels& kernels, KvKind kv, const std::vector<float>& q, const std::vector<float>& keys,
       const std::vector<float>& values)
      : max(kRows), sum(kRows), acc(kRows * kPanel) {
    const BlockLayout layout(kv, 1, kKeyDims, kValueDims);
    const int kind = static_cast<int>(kv), k_padded = 32;
    const Arena memory(kSpan / kPanel * layout.bytes);
    std::vector<const std::byte*> blocks;
    for (int b = 0; b < kSpan / kPanel; ++b) blocks.push_back(memory.data() + b * layout.bytes);
    std::vector<std::uint32_t> work(k_padded);
    for (int p = 0; p < kPositions; ++p) {
      std::vector<float> k(k_padded), v(kPanel);
      std::copy_n(keys.data() + p * kKeyDims, kKeyDims, k.data());
      std::copy_n(values.data() + p * kValueDims, kValueDims, v.data());
      kernels.store[kind]({memory.data() + p / kPanel * layout.bytes, p % kPanel, layout.k_inputs, layout.v_panels,
                           layout.values_at, layout.scales_at, k.data(), v.data(), work.data()});
    }
    std::vector<float> columns(layout.k_inputs * kPanel), scores(kRows * kSpan);
    for (int r = 0; r < kRows; ++r)
      for (int d = 0; d < kKeyDims; ++d) columns[d * kPanel + r] = q[r * kKeyDims + d];
    SpanArgs a;
    a.blocks = blocks.data();
    a.begin = 3;
    a.end = 101;
    a.k_inputs = layout.k_inputs;
    a.v_panels = layout.v_panels;
    a.values_at = layout.values_at;
    a.scales_at = layout.scales_at;
    a.q = columns.data();
    a.rows = kRows;
    a.lo = kLo;
    a.hi = kHi;
    a.scores = scores.data();
    a.max = max.data();
    a.sum = sum.data();
    a.acc = acc.data();
    kernels.attend_span[kind](a);
  }

  static constexpr std::int32_t kLo[kRows] = {3, 3, 50, 99, 64}, kHi[kRows] = {101, 9, 101, 101, 65};
};

void check_attention(const Kernels& kernels, KvKind kv) {
  const std::string who = std::string(kernels.name) + " attend_span " + std::to_string(static_cast<int>(kv));
  const auto q = random_numbers(Span::kRows * Span::kKeyDims, 6, 0.5f);
  auto keys = random_numbers(Span::kPositions * Span::kKeyDims, 7);
  auto values = random_numbers(Span::kPositions * Span::kValueDims, 8);
  const Span span(kernels, kv, q, keys, values), twin(choose_kernels("portable"), kv, q, keys, values);
  if (kv == KvKind::bf16)
    for (auto* numbers : {&keys, &values})
      for (float& x : *numbers) x = from_bf16(to_bf16(x));
  const double tolerance = kv == KvKind::int8 ? 0.05 : 1e-5;
  for (int r = 0; r < Span::kRows; ++r) {
    std::vector<double> weights;
    double top = -1e30, total = 0;
    for (int p = Span::kLo[r]; p < Span::kHi[r]; ++p) {
      double score = 0;
      for (int d = 0; d < Span::kKeyDims; ++d)
        score += double{q[r * Span::kKeyDims + d]} * keys[p * Span::kKeyDims + d];
      weights.push_back(score);
      top = std::max(top, score);
    }
    for (double& weight : weights) total += weight = std::exp(weight - top);
    expect(std::fabs(span.max[r] - top) < tolerance, who + " max", span.max[r] - top);
    expect(std::fabs(span.sum[r] - total) < tolerance * total, who + " sum", span.sum[r] - total);
    for (int u = 0; u < Span::kValueDims; ++u) {
      double mean = 0;
      for (std::size_t i = 0; i < weights.size(); ++i)
        mean += weights[i] / total * values[(Span::kLo[r] + i) * Span::kValueDims + u];
      const double error = std::fabs(span.acc[r * kPanel + u] / span.sum[r] - mean);
      expect(error < tolerance, who + " value", error);
    }
  }
  const double error = largest_difference(span.acc, twin.acc);
  expect(error < 1e-4, who + ": near portable", error);
}

ModelShape small_model() {
  ModelShape shape;
  shape.vocab = 101;
  shape.hidden = 50;
  shape.dense_hidden = 56;
  shape.expert_hidden = 24;
  shape.max_positions = 512;
  shape.value_scale = 0.7f;
  shape.router = {6, 2, 1, 1, true, 1.0f};
  const AttentionShape global{-1, 4, 1, 20, 12, 6, 10000.0f, false, false};
  const AttentionShape window{9, 4, 2, 20, 12, 6, 1000.0f, true, false};
  shape.layers = {{global, false}, {window, true}, {global, true}};
  shape.mtp_layer = {window, false};
  shape.num_mtp_layers = 1;
  return shape;
}

// Logits of 100 tokens, first 70 in one call, then the rest one by one.
std::vector<float> run_model(const char* table, Kind kind, int threads) {
  const ModelShape shape = small_model();
  const KvKind kv = kind == Kind::f32 ? KvKind::f32 : kind == Kind::q4 ? KvKind::int8 : KvKind::bf16;
  Model model(shape, kind, kv, threads, 2, 8, table);
  unsigned seed = 10;
  for (const TensorSlot& slot : model.tensors()) {
    std::size_t n = 1;
    for (const int size : slot.shape) n *= size;
    const bool is_matrix = slot.shape.size() == 2;
    auto values = random_numbers(n, seed++, is_matrix ? 1.0f / std::sqrt(static_cast<float>(slot.shape.back())) : 0.3f);
    for (float& x : values) x += slot.name.find("norm") != std::string::npos;
    model.set(slot.name, {values.data(), nullptr}, slot.shape);
  }
  model.start(shape.vocab, 0);
  std::vector<float> logits(100 * shape.vocab), hidden(100 * shape.hidden);
  const std::int32_t slots[] = {1}, page_table[] = {5, 2};
  for (int first = 0; first < 100;) {
    const std::int32_t rows = first ? 1 : 70, starts[] = {0, rows};
    std::vector<std::int32_t> tokens(rows), wanted(rows), best(rows);
    for (int r = 0; r < rows; ++r) tokens[r] = (first + r) * 37 % shape.vocab, wanted[r] = r;
    const std::int32_t first_position[] = {first};
    model.forward({rows, 1, 2, rows, tokens.data(), starts, first_position, slots, page_table, wanted.data()},
                  logits.data() + first * shape.vocab, best.data(), hidden.data());
    model.commit(&rows, 1);
    first += rows;
  }
  return logits;
}

void check_model(const char* table) {
  for (const Kind kind : kKinds) {
    const auto one = run_model(table, kind, 1), two = run_model(table, kind, 2);
    const auto portable = run_model("portable", kind, 1);
    const std::string what = std::string(table) + " model " + name_of(kind);
    expect(one == two, what + ": two threads give what one gives", largest_difference(one, two));
    // Fused or separate multiply and add; with codes an activation may round to the neighbouring one.
    const double error = largest_difference(one, portable);
    std::printf("%s: %.2g from portable\n", what.c_str(), error);
    if (kind == Kind::f32) expect(error < 1e-4, what, error);
    std::size_t near = 0;
    for (std::size_t i = 0; i < one.size(); ++i) near += std::fabs(one[i] - portable[i]) < 0.1;
    expect(near > 0.95 * one.size(), what + ": near portable", near);
  }
  if (has_kernels("dotprod") && std::string(table) == "neon")
    for (const Kind kind : kKinds)
      expect(run_model("neon", kind, 1) == run_model("dotprod", kind, 1), "neon and dotprod give the same bits");
}

}  // namespace

int main() {
  std::setbuf(stdout, nullptr);
  for (const char* table : kTables) {
    if (!has_kernels(table)) continue;
    std::printf("%s\n", table);
    const Kernels& kernels = choose_kernels(table);
    for (const Kind kind : kKinds)
      for (const int rows : {1, 2, 3, 5, 6, 7, 13})
        for (const auto& [ins, outs] : {std::pair{64, 64}, {136, 80}, {48, 7}, {33, 130}})
          check_matmul(kernels, kind, rows, ins, outs);
    check_rows(kernels);
    for (const KvKind kv : {KvKind::f32, KvKind::bf16, KvKind::int8}) check_attention(kernels, kv);
    check_model(table);
  }
  std::printf(failures ? "%d checks failed\n" : "all checks passed\n", failures);
  return failures ? 1 : 0;
}
