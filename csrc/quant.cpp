#include "quant.h"

#include <algorithm>

namespace openmimo {
namespace {

std::byte* panel_of(const Matrix& m, int out) { return m.data + (out / kPanel) * m.panel_bytes(); }

// One lane of a panel of codes: where its words of four bytes lie, and the scale of each group.
class Lane {
 public:
  Lane(const Matrix& m, int out)
      : is_q8_(m.kind == Kind::q8), pair_bytes_(is_q8_ ? kPairBytesQ8 : kPairBytesQ4),
        at_(panel_of(m, out) + out % kPanel * 4) {}

  std::byte* words(int group) const {
    return at_ + group / 2 * pair_bytes_ + group % 2 * (is_q8_ ? kGroup * kPanel : kGroup * kPanel / 2);
  }
  void set_scale(int group, float scale) const {
    const std::uint16_t bits = to_bf16(is_q8_ ? scale : scale / 16);
    std::memcpy(scale_at(group), &bits, sizeof bits);
  }
  float scale(int group) const {
    std::uint16_t bits;
    std::memcpy(&bits, scale_at(group), sizeof bits);
    return is_q8_ ? from_bf16(bits) : from_bf16(bits) * 16;
  }

  void set_codes(int group, const std::int8_t (&codes)[kGroup]) const {
    std::uint32_t four[kGroup / 4];
    std::memcpy(four, codes, sizeof four);
    std::byte* to = words(group);
    for (int k = 0; k < kGroup / 4 && is_q8_; ++k) put(to + k * kPanel * 4, four[k] ^ 0x80808080u);
    for (int k = 0; k < kGroup / 8 && !is_q8_; ++k)
      put(to + k * kPanel * 4, shifted_q4(four[k]) | shifted_q4(four[k + kGroup / 8]) << 4);
  }
  void codes(int group, std::int8_t (&codes)[kGroup]) const {
    std::uint32_t four[kGroup / 4];
    const std::byte* from = words(group);
    for (int k = 0; k < kGroup / 4 && is_q8_; ++k) four[k] = get(from + k * kPanel * 4) ^ 0x80808080u;
    for (int k = 0; k < kGroup / 8 && !is_q8_; ++k) {
      const std::uint32_t both = get(from + k * kPanel * 4);
      four[k] = signed_q4(both & 0x0f0f0f0fu);
      four[k + kGroup / 8] = signed_q4(both >> 4 & 0x0f0f0f0fu);
    }
    std::memcpy(codes, four, sizeof four);
  }

 private:
  std::byte* scale_at(int group) const {
    return at_ + group / 2 * pair_bytes_ + pair_bytes_ - kScaleBytes + group % 2 * 2;
  }
  static void put(std::byte* to, std::uint32_t word) { std::memcpy(to, &word, sizeof word); }
  static std::uint32_t get(const std::byte* from) {
    std::uint32_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }
  // Four codes from -8 to 7 as bytes of code + 8, and back.
  static std::uint32_t shifted_q4(std::uint32_t four) { return (four ^ 0x08080808u) & 0x0f0f0f0fu; }
  static std::uint32_t signed_q4(std::uint32_t four) {
    return (four ^ 0x08080808u) | (~four & 0x08080808u) * 0x1e;  // the sign bit repeated in the high half
  }

  bool is_q8_;
  std::size_t pair_bytes_;
  std::byte* at_;
};

int inputs_of_group(const Matrix& m, int group) { return std::min(kGroup, m.ins - group * kGroup); }

}  // namespace

bool pack_panel(const Kernels& kernels, const Matrix& m, RowRange range, int panel, WeightRows w) {
  const int start = (range.first / kPanel + panel) * kPanel;
  const int first = std::max(range.first, start), end = std::min(range.first + range.count, start + kPanel);
  const std::size_t skip = static_cast<std::size_t>(first - range.first) * m.ins;
  PackArgs a;
  a.kind = m.kind;
  a.f32 = w.f32 ? w.f32 + skip : nullptr;
  a.bf16 = w.bf16 ? w.bf16 + skip : nullptr;
  a.ins = m.ins;
  a.first_lane = first - start;
  a.lanes = end - first;
  a.panel = panel_of(m, start);
  return kernels.pack(a);
}

bool pack_codes(const Matrix& m, int out, const std::int8_t* codes, const float* scales) {
  const Lane lane(m, out);
  int outside = 0;
  for (int g = 0; g < m.groups(); ++g) {
    std::int8_t group[kGroup] = {};
    std::copy_n(codes + g * kGroup, inputs_of_group(m, g), group);
    for (const std::int8_t code : group) outside |= (code + 8) & ~15;
    lane.set_codes(g, group);
    lane.set_scale(g, scales[g]);
  }
  return m.kind == Kind::q8 || !outside;
}

void unpack_codes(const Matrix& m, int out, std::int8_t* codes, float* scales) {
  const Lane lane(m, out);
  for (int g = 0; g < m.groups(); ++g) {
    std::int8_t group[kGroup];
    lane.codes(g, group);
    std::copy_n(group, inputs_of_group(m, g), codes + g * kGroup);
    scales[g] = lane.scale(g);
  }
}

void unpack_row(const Matrix& m, int out, float* w) {
  const std::byte* panel = panel_of(m, out);
  const int lane = out % kPanel;
  if (m.kind == Kind::f32) {
    const float* from = reinterpret_cast<const float*>(panel) + lane;
    for (int i = 0; i < m.ins; ++i) w[i] = from[i * kPanel];
    return;
  }
  if (m.kind == Kind::bf16) {
    const std::uint16_t* from = reinterpret_cast<const std::uint16_t*>(panel) + lane * 2;
    for (int i = 0; i < m.ins; ++i) w[i] = from_bf16(from[i / 2 * (kPanel * 2) + i % 2]);
    return;
  }
  const Lane coded(m, out);
  for (int g = 0; g < m.groups(); ++g) {
    std::int8_t codes[kGroup];
    coded.codes(g, codes);
    const float scale = coded.scale(g);
    for (int i = 0; i < inputs_of_group(m, g); ++i) w[g * kGroup + i] = static_cast<float>(codes[i]) * scale;
  }
}

}  // namespace openmimo
