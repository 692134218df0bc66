// Pixels of 8 bits to the tensors of a model and back, on whatever device they are. The values are those that the
// server's threads make where they convert: tensor/image/samples.rs, model/pictures/picture_output.rs.

#include "bridge.h"

namespace {

// ITU-R BT.601 luma of BGR, in the whole numbers that OpenCV computes it with.
at::Tensor luma(const at::Tensor &pixels) {
  auto wide = pixels.to(at::kInt);
  auto sum = wide.select(3, 0).mul(3735).add_(wide.select(3, 1), 19235).add_(wide.select(3, 2), 9798);
  return sum.add_(1 << 14).bitwise_right_shift_(15).to(at::kByte).unsqueeze(3);
}

at::Tensor colored(const at::Tensor &pixels, Color color) {
  bool gray = pixels.size(3) == 1;
  if (gray && color != GRAY) return pixels.expand({-1, -1, -1, 3});
  if (!gray && color == GRAY) return luma(pixels);
  return !gray && color == RGB ? pixels.flip(3) : pixels;
}

bool is_uniform(const double *channels) { return channels[0] == channels[1] && channels[1] == channels[2]; }

// Whether the tensor's values are those of the pixels, and all of them have room in its type.
bool is_identity(const Pixels &by) {
  bool centred = is_uniform(by.mean) && by.mean[0] == 0;
  bool divided = !is_uniform(by.deviation) || by.deviation[0] != 1;
  return by.most >= 255 && by.scale == 1 && centred && !divided;
}

// One factor and one offset, as floats.
void scale_floats(at::Tensor values, const Pixels &by, int channel) {
  float factor = static_cast<float>(by.scale / by.deviation[channel]);
  float offset = static_cast<float>(-by.mean[channel] / by.deviation[channel]);
  values.mul_(factor);
  if (offset != 0) values.add_(offset);
}

void scale_doubles(at::Tensor values, const Pixels &by, int channel) {
  values.mul_(by.scale).sub_(by.mean[channel]).div_(by.deviation[channel]);
}

template <typename Scale> void scale_each(at::Tensor values, const Pixels &by, Scale scale) {
  if (is_uniform(by.mean) && is_uniform(by.deviation)) return scale(values, by, 0);
  int64_t dimension = by.planes ? 1 : 3;
  // Numbers go to a GPU with the order to use them; a tensor of them would have to be copied there.
  for (int channel = 0; channel < values.size(dimension); channel++)
    scale(values.select(dimension, channel), by, channel);
}

at::Tensor as(const at::Tensor &values, at::ScalarType type) {
  return values.to(type, /*non_blocking=*/false, /*copy=*/true, at::MemoryFormat::Contiguous);
}

} // namespace

at::Tensor converted(const at::Tensor &pixels, const Pixels &by, at::ScalarType type) {
  auto values = colored(pixels, by.color);
  if (by.planes) values = values.permute({0, 3, 1, 2});
  if (is_identity(by)) return as(values, type);
  bool narrow = type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
  // The copy puts them into their order as well.
  values = as(values, narrow ? at::kFloat : at::kDouble);
  narrow ? scale_each(values, by, scale_floats) : scale_each(values, by, scale_doubles);
  if (!at::isFloatingType(type)) values.round_().clamp_(by.least, by.most);
  return values.to(type);
}

// Nothing where the output is no picture as it was said to be.
std::optional<at::Tensor> picture_of(const at::Tensor &output, const Picture &picture) {
  if (output.dim() != 2 + int(picture.rows) + int(picture.channels) || output.is_complex()) return std::nullopt;
  auto values = picture.rows ? output : output.unsqueeze(0);
  if (!picture.channels) values = values.unsqueeze(3);
  else if (picture.planes) values = values.permute({0, 2, 3, 1});
  if (values.size(3) != (picture.color == GRAY ? 1 : 3)) return std::nullopt;
  if (values.scalar_type() != at::kByte || picture.scale != 1) {
    // What is no number becomes 0; what is out of range, its end.
    auto wide = values.to(at::kFloat).mul(static_cast<float>(picture.scale));
    values = wide.nan_to_num_(0, 255, 0).clamp_(0, 255).round_().to(at::kByte);
  }
  if (picture.color == RGB) values = values.flip(3);
  return values.contiguous();
}
