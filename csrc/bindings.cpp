// Python's view of the engine. The only file that includes nanobind; it does no arithmetic.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "limits.h"
#include "model.h"
#include "quant.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace openmimo {
namespace {

template <class T, int Dims>
using In = nb::ndarray<const T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <class T, int Dims>
using Out = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;
template <class T>
using Any = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

template <class T>
std::vector<int> shape_of(const Any<T>& array) {
  std::vector<int> shape;
  for (std::size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int>(array.shape(i)));
  return shape;
}

Kind kind_of(const std::string& name) {
  if (name == "f32") return Kind::f32;
  if (name == "bf16") return Kind::bf16;
  if (name == "q8") return Kind::q8;
  if (name == "q4") return Kind::q4;
  throw std::invalid_argument("weights='" + name + "' must be f32, bf16, q8 or q4");
}

KvKind kv_kind_of(const std::string& name) {
  if (name == "f32") return KvKind::f32;
  if (name == "bf16") return KvKind::bf16;
  if (name == "int8") return KvKind::int8;
  throw std::invalid_argument("kv='" + name + "' must be f32, bf16 or int8");
}

BatchView view(const In<std::int32_t, 1>& ids, const In<std::int32_t, 1>& starts, const In<std::int32_t, 1>& first,
               const In<std::int32_t, 1>& slots, const In<std::int32_t, 2>& pages, const In<std::int32_t, 1>& wanted) {
  const std::size_t n = first.size();
  require(starts.size() == n + 1 && slots.size() == n && pages.shape(0) == n,
          "starts_N1, first_N, slots_N and pages_NP must describe the same number of sequences");
  BatchView b;
  b.tokens = static_cast<int>(ids.size());
  b.sequences = static_cast<int>(n);
  b.pages = static_cast<int>(pages.shape(1));
  b.wanted = static_cast<int>(wanted.size());
  b.token_ids = ids.data();
  b.starts = starts.data();
  b.first = first.data();
  b.slots = slots.data();
  b.page_table = pages.data();
  b.wanted_rows = wanted.data();
  return b;
}

void check_result(const Out<float, 2>& array, int rows, int columns, const char* message) {
  require(array.shape(0) == static_cast<std::size_t>(rows) && array.shape(1) == static_cast<std::size_t>(columns),
          message);
}

void bind_shapes(nb::module_& m) {
  nb::class_<LayerShape>(m, "LayerShape")
      .def("__init__",
           [](LayerShape* self, int window, bool is_sparse, int heads, int kv_heads, int k_dim, int v_dim,
              int rotary_dims, float rope_theta, bool has_sink, bool has_bias) {
             new (self) LayerShape{{window, heads, kv_heads, k_dim, v_dim, rotary_dims, rope_theta, has_sink, has_bias},
                                   is_sparse};
           },
           nb::kw_only(), "window"_a, "is_sparse"_a, "heads"_a, "kv_heads"_a, "k_dim"_a, "v_dim"_a, "rotary_dims"_a,
           "rope_theta"_a, "has_sink"_a, "has_bias"_a);
  nb::class_<RouterShape>(m, "RouterShape")
      .def("__init__",
           [](RouterShape* self, int experts, int chosen, int groups, int groups_kept, bool normalise, float scale) {
             new (self) RouterShape{experts, chosen, groups, groups_kept, normalise, scale};
           },
           nb::kw_only(), "experts"_a, "chosen"_a, "groups"_a, "groups_kept"_a, "normalise"_a, "scale"_a);
  nb::class_<ModelShape>(m, "ModelShape")
      .def(nb::init<>())
      .def_rw("is_v2", &ModelShape::is_v2)
      .def_rw("vocab", &ModelShape::vocab)
      .def_rw("hidden", &ModelShape::hidden)
      .def_rw("dense_hidden", &ModelShape::dense_hidden)
      .def_rw("expert_hidden", &ModelShape::expert_hidden)
      .def_rw("max_positions", &ModelShape::max_positions)
      .def_rw("layers", &ModelShape::layers)
      .def_rw("mtp_layer", &ModelShape::mtp_layer)
      .def_rw("num_mtp_layers", &ModelShape::num_mtp_layers)
      .def_rw("mtp_reads_post_norm", &ModelShape::mtp_reads_post_norm)
      .def_rw("is_tied", &ModelShape::is_tied)
      .def_rw("norm_eps", &ModelShape::norm_eps)
      .def_rw("value_scale", &ModelShape::value_scale)
      .def_rw("router", &ModelShape::router);
}

void bind_model(nb::module_& m) {
  nb::class_<Model>(m, "Model")
      .def("__init__",
           [](Model* self, const ModelShape& shape, const std::string& weights, const std::string& kv, int threads,
              int num_slots, int num_pages, const std::string& instruction_set) {
             new (self) Model(shape, kind_of(weights), kv_kind_of(kv), threads, num_slots, num_pages,
                              instruction_set.c_str());
           },
           "shape"_a, "weights"_a, "kv"_a, "threads"_a, "num_slots"_a, "num_pages"_a, "instruction_set"_a = "")
      .def_prop_ro("instruction_set", [](const Model& self) { return std::string(self.instruction_set()); })
      .def_prop_ro("threads", &Model::threads)
      .def_prop_ro("weight_bytes", &Model::weight_bytes)
      .def_prop_ro("cache_bytes", &Model::cache_bytes)
      .def("tensor_names",
           [](const Model& self) {
             std::vector<std::string> names;
             for (const TensorSlot& slot : self.tensors()) names.push_back(slot.name);
             return names;
           })
      .def("code_bits", &Model::code_bits, "name"_a)
      .def("set",
           [](Model& self, const std::string& name, const Any<float>& values) {
             const std::vector<int> shape = shape_of(values);
             nb::gil_scoped_release release;
             self.set(name, {values.data(), nullptr}, shape);
           },
           "name"_a, "values"_a)
      .def("set",  // bf16 numbers, as their bits
           [](Model& self, const std::string& name, const Any<std::uint16_t>& values) {
             const std::vector<int> shape = shape_of(values);
             nb::gil_scoped_release release;
             self.set(name, {nullptr, values.data()}, shape);
           },
           "name"_a, "values"_a)
      .def("set_codes",
           [](Model& self, const std::string& name, const In<std::int8_t, 2>& codes, const In<float, 2>& scales) {
             require(codes.shape(0) == scales.shape(0) && (codes.shape(1) + kGroup - 1) / kGroup == scales.shape(1),
                     "codes [outs, ins] need scales [outs, ins / 32]");
             const std::vector<int> shape = {static_cast<int>(codes.shape(0)), static_cast<int>(codes.shape(1))};
             nb::gil_scoped_release release;
             self.set_codes(name, codes.data(), scales.data(), shape);
           },
           "name"_a, "codes"_a, "scales"_a)
      .def("start", &Model::start, "num_ids"_a, "num_heads"_a)
      .def("forward",
           [](Model& self, const In<std::int32_t, 1>& ids, const In<std::int32_t, 1>& starts,
              const In<std::int32_t, 1>& first, const In<std::int32_t, 1>& slots, const In<std::int32_t, 2>& pages,
              const In<std::int32_t, 1>& wanted, const Out<float, 2>& logits, const Out<std::int32_t, 1>& best,
              const Out<float, 2>& hidden, const Out<std::uint16_t, 3>& routes) {
             const BatchView b = view(ids, starts, first, slots, pages, wanted);
             check_result(logits, b.wanted, self.shape().vocab, "logits_BV must have one row for each wanted row");
             require(best.size() == wanted.size(), "best_B must have one entry for each wanted row");
             if (hidden.is_valid())
               check_result(hidden, b.tokens, self.shape().hidden, "hidden_TC must have one row for each token");
             if (routes.is_valid())
               require(routes.shape(0) == ids.size() && routes.shape(1) == static_cast<std::size_t>(self.num_sparse()) &&
                           routes.shape(2) == static_cast<std::size_t>(self.shape().router.chosen),
                       "routes_TLK must have a row for each token, of each sparse layer's chosen experts");
             nb::gil_scoped_release release;
             self.forward(b, logits.data(), best.data(), hidden.is_valid() ? hidden.data() : nullptr,
                          routes.is_valid() ? routes.data() : nullptr);
           },
           "token_ids_T"_a, "starts_N1"_a, "first_N"_a, "slots_N"_a, "pages_NP"_a, "wanted_B"_a, "logits_BV"_a,
           "best_B"_a, "hidden_TC"_a.none(), "routes_TLK"_a.none() = nb::none())
      .def("commit",
           [](Model& self, const In<std::int32_t, 1>& keep) {
             nb::gil_scoped_release release;
             self.commit(keep.data(), static_cast<int>(keep.size()));
           },
           "keep_N"_a)
      .def("draft",
           [](Model& self, const In<std::int32_t, 1>& ids, const In<std::int32_t, 1>& starts,
              const In<std::int32_t, 1>& first, const In<std::int32_t, 1>& slots, const In<std::int32_t, 2>& pages,
              const In<std::int32_t, 1>& wanted, const In<std::int32_t, 1>& counts,
              const Out<std::int32_t, 2>& drafts) {
             const BatchView b = view(ids, starts, first, slots, pages, wanted);
             require(counts.size() == first.size(), "counts_N must have one entry for each sequence");
             require(drafts.shape(0) == first.size() && drafts.shape(1) == static_cast<std::size_t>(self.num_heads()),
                     "drafts_NK must have a row for each sequence and a column for each head in use");
             nb::gil_scoped_release release;
             self.draft(b, counts.data(), drafts.data());
           },
           "token_ids_T"_a, "starts_N1"_a, "first_N"_a, "slots_N"_a, "pages_NP"_a, "wanted_B"_a, "counts_N"_a,
           "drafts_NK"_a)
      .def("head_logits",
           [](Model& self, int head, const In<std::int32_t, 1>& ids, const In<std::int32_t, 1>& starts,
              const In<std::int32_t, 1>& first, const In<std::int32_t, 1>& slots, const In<std::int32_t, 2>& pages,
              const In<std::int32_t, 1>& wanted, const In<float, 2>& hidden, const In<std::int32_t, 1>& keep,
              const Out<float, 2>& logits) {
             const BatchView b = view(ids, starts, first, slots, pages, wanted);
             check_result(logits, b.wanted, self.shape().vocab, "logits_BV must have one row for each wanted row");
             require(hidden.shape(0) == ids.size() && hidden.shape(1) == static_cast<std::size_t>(self.shape().hidden),
                     "hidden_TC must have one row of the model's hidden size for each token");
             require(keep.size() == first.size(), "keep_N must have one entry for each sequence");
             nb::gil_scoped_release release;
             self.head_logits(head, b, hidden.data(), keep.data(), logits.data());
           },
           "head"_a, "token_ids_T"_a, "starts_N1"_a, "first_N"_a, "slots_N"_a, "pages_NP"_a, "wanted_B"_a,
           "hidden_TC"_a, "keep_N"_a, "logits_BV"_a);
}

// A matrix that nobody but the caller holds.
struct Packed {
  Matrix matrix;
  Arena memory;
};

Packed pack(const Kernels& kernels, const In<float, 2>& w, Kind kind) {
  Packed p;
  p.matrix = {kind, static_cast<int>(w.shape(0)), static_cast<int>(w.shape(1)), nullptr};
  p.memory = Arena(p.matrix.bytes());
  p.matrix.data = p.memory.data();
  for (int panel = 0; panel < p.matrix.panels(); ++panel)
    require(pack_panel(kernels, p.matrix, {0, p.matrix.outs}, panel, {w.data(), nullptr}),
            "a weight to quantise is NaN or infinite");
  return p;
}

template <class T>
using Returned = nb::ndarray<nb::numpy, T, nb::ndim<2>, nb::c_contig>;

template <class T>
Returned<T> new_array(std::size_t rows, std::size_t columns) {
  T* values = new T[rows * columns]();
  return Returned<T>(values, {rows, columns}, nb::capsule(values, [](void* p) noexcept { delete[] static_cast<T*>(p); }));
}

// weights[O, I] -> codes[O, I], scales[O, ceil(I / 32)], by the rule that weights are packed with
std::pair<Returned<std::int8_t>, Returned<float>> quantize(const In<float, 2>& weights, int bits,
                                                           const std::string& instruction_set) {
  require(bits == 8 || bits == 4, "bits must be 8 or 4");
  const Packed p = pack(choose_kernels(instruction_set.c_str()), weights, bits == 8 ? Kind::q8 : Kind::q4);
  const int groups = p.matrix.groups();
  auto codes = new_array<std::int8_t>(p.matrix.outs, p.matrix.ins);
  auto scales = new_array<float>(p.matrix.outs, groups);
  for (int out = 0; out < p.matrix.outs; ++out)
    unpack_codes(p.matrix, out, codes.data() + static_cast<std::size_t>(out) * p.matrix.ins,
                 scales.data() + static_cast<std::size_t>(out) * groups);
  return {codes, scales};
}

// Single kernels, so that tests can hold each instruction set against plain numpy.
void bind_testing(nb::module_& m) {
  m.def("has_instruction_set", [](const std::string& name) { return has_kernels(name.c_str()); }, "name"_a);
  m.def("matmul",
        [](const std::string& isa, const std::string& kind, const In<float, 2>& x, const In<float, 2>& w,
           const Out<float, 2>& y) {
          const int rows = static_cast<int>(x.shape(0));
          require(x.shape(1) == w.shape(1) && y.shape(0) == x.shape(0) && y.shape(1) == w.shape(0),
                  "matmul needs x [rows, ins], w [outs, ins], y [rows, outs]");
          const Kernels& kernels = choose_kernels(isa.c_str());
          const Packed p = pack(kernels, w, kind_of(kind));
          Activations in, out;
          in.resize(rows, p.matrix.ins, is_coded(p.matrix.kind));
          out.resize(rows, p.matrix.outs, false);
          for (int r = 0; r < rows; ++r) {
            std::copy_n(x.data() + static_cast<long>(r) * p.matrix.ins, p.matrix.ins, in.row(r));
            if (is_coded(p.matrix.kind)) in.quantize_columns(kernels, r, 0, in.ld);
          }
          multiply(kernels, p.matrix, 0, p.matrix.panels(), in, {rows, 0, nullptr, nullptr}, out.row(0), out.ld, false);
          for (int r = 0; r < rows; ++r)
            std::copy_n(out.row(r), p.matrix.outs, y.data() + static_cast<long>(r) * p.matrix.outs);
        },
        "isa"_a, "kind"_a, "x"_a, "w"_a, "y"_a);
  m.def("round_trip",
        [](const std::string& kind, const In<float, 2>& w, const Out<float, 2>& back) {
          require(w.shape(0) == back.shape(0) && w.shape(1) == back.shape(1), "round_trip needs two equal shapes");
          const Packed p = pack(choose_kernels(""), w, kind_of(kind));
          for (int out = 0; out < p.matrix.outs; ++out)
            unpack_row(p.matrix, out, back.data() + static_cast<long>(out) * p.matrix.ins);
        },
        "kind"_a, "w"_a, "back"_a);
  m.def("rms_norm",
        [](const std::string& isa, const In<float, 1>& x, const In<float, 1>& w, float eps, const Out<float, 1>& y) {
          const int n = static_cast<int>(x.size());
          require(n % kGroup == 0 && w.size() == x.size() && y.size() == x.size(), "rms_norm needs equal sizes, 32 n");
          choose_kernels(isa.c_str()).rms_norm(x.data(), w.data(), eps, n, n, y.data());
        },
        "isa"_a, "x"_a, "w"_a, "eps"_a, "y"_a);
  m.def("silu_mul",
        [](const std::string& isa, const In<float, 1>& gate, const In<float, 1>& up, float weight,
           const Out<float, 1>& y) {
          const int n = static_cast<int>(gate.size());
          require(n % kPanel == 0 && up.size() == gate.size() && y.size() == gate.size(), "silu_mul needs sizes 16 n");
          choose_kernels(isa.c_str()).silu_mul(gate.data(), up.data(), weight, n, y.data());
        },
        "isa"_a, "gate"_a, "up"_a, "weight"_a, "y"_a);
  m.def("run_jobs",
        [](int threads, int jobs, int chunks, int pause_us, int failing_chunk) {
          // How often each chunk ran, all jobs together. Every second job runs in a pass.
          nb::gil_scoped_release release;
          Pool pool(threads);
          std::vector<std::atomic<int>> runs(chunks);
          for (int job = 0; job < jobs; ++job) {
            std::optional<Pool::Pass> pass;
            if (job % 2) pass.emplace(pool);
            pool.run(chunks, 1e9, [&](int chunk, int worker) {
              require(worker >= 0 && worker < threads, "no such worker");
              ++runs[chunk];
              require(chunk != failing_chunk, "this chunk fails");
            });
            if (pause_us) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
          }
          return std::vector<int>(runs.begin(), runs.end());
        },
        "threads"_a, "jobs"_a, "chunks"_a, "pause_us"_a = 0, "failing_chunk"_a = -1);
  m.def("choose_experts",
        [](const RouterShape& shape, const In<float, 1>& logits, const In<float, 1>& correction) {
          require(logits.size() == static_cast<std::size_t>(shape.experts) && correction.size() == logits.size(),
                  "choose_experts needs one logit and one correction for each expert");
          std::vector<float> scores(shape.experts), biased(shape.experts);
          std::vector<Choice> chosen(shape.chosen);
          choose_experts(shape, logits.data(), correction.data(), scores.data(), biased.data(), chosen.data());
          nb::list result;
          for (const Choice& c : chosen) result.append(nb::make_tuple(c.expert, c.weight));
          return result;
        },
        "shape"_a, "logits"_a, "correction"_a);
}

}  // namespace
}  // namespace openmimo

NB_MODULE(_native, m) {
  m.attr("PAGE") = openmimo::kPage;
  m.doc() = "The C++ engine of openmimo; openmimo.native wraps it.";
  openmimo::bind_shapes(m);
  openmimo::bind_model(m);
  m.def("quantize", openmimo::quantize, "weights"_a, "bits"_a, "instruction_set"_a = "");
  m.def("read_bandwidth", openmimo::read_bandwidth, "threads"_a, "size"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def("int8_peak", openmimo::int8_peak, "threads"_a, nb::call_guard<nb::gil_scoped_release>());
  nb::module_ testing = m.def_submodule("_testing", "Single kernels, for the test suite.");
  openmimo::bind_testing(testing);
}
