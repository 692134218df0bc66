// What the parts of the bridge to libtorch have in common: the structures of its C interface, as raw.rs has them too, a
// module, and what a run gave.

#pragma once

#include <list>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/jit/api/module.h>

extern "C" {

// What one argument of `forward` takes.
enum Takes : int32_t { TENSOR = 0, LIST = 1, DICT = 2, OTHER = 3 };

struct Argument {
  const char *name;
  const char *type;
  Takes takes;
  bool optional;
};

// `count` is -1 where the graph does not say; `names` has as many texts, null where an output has no name.
struct Returns {
  int64_t count;
  const char *const *names;
};

struct Part {
  const void *data;
  size_t size;
};

// The channels of a tensor of pictures. Pixels have one, gray, or three, BGR.
enum Color : int32_t { RGB = 0, BGR = 1, GRAY = 2 };

// Pixels of 8 bits that are to be converted on the device.
struct Pixels {
  // Pictures, rows, columns and channels, in the order in which they lie.
  int64_t dims[4];
  Color color;
  // The tensor has a plane for each channel.
  bool planes;
  // (value * scale - mean) / deviation, for each channel of the tensor.
  double scale;
  double mean[3];
  double deviation[3];
  // Of a type of whole numbers.
  double least;
  double most;
};

// A tensor whose bytes lie in parts, one after the other. They are of `type` and `dims`, or `pixels` of which such a
// tensor is to be made.
struct Input {
  const char *name;
  size_t argument;
  int32_t type;
  const int64_t *dims;
  size_t rank;
  const Part *parts;
  size_t part_count;
  const Pixels *pixels;
};

// The output that is to come back as pixels of 8 bits: that of this name where outputs have names, else that at this
// place. Where the name is null, only the place counts.
struct Picture {
  const char *name;
  size_t place;
  Color color;
  // The output has a plane for each channel.
  bool planes;
  // One of its dimensions counts pictures, one channels.
  bool rows;
  bool channels;
  // Times this, its values are 0 to 255.
  double scale;
};

struct Call {
  const Input *inputs;
  size_t count;
  Takes takes;
  int32_t threads;
  int64_t stream;
  bool inference_mode;
  bool optimized;
  // Null where all outputs come back as they are.
  const Picture *picture;
};

// `type` is -1 where this is no tensor that can be given out; `type_name` says what it is. Type and dims are those that
// the model gave, also of what was converted to `pixels`, whose bytes are rows, columns and channels, gray or BGR.
struct Output {
  const char *name;
  const char *type_name;
  int32_t type;
  const int64_t *dims;
  size_t rank;
  const void *data;
  size_t size;
  bool pixels;
};

} // extern "C"

struct Module {
  torch::jit::Module module;
  at::Device device;
  // A list, since its texts stay where they are.
  std::list<std::string> texts;
  std::vector<Argument> arguments;
  std::vector<std::optional<at::IValue>> defaults;
  std::vector<const char *> return_names;
  bool returns_known = true;
  bool keeps_state = false;
  // Weights and inputs of four dimensions lie with their channels last.
  bool channels_last = false;
  // What stands in for 32-bit floats while it runs.
  std::optional<at::ScalarType> computes;

  Module(const char *path, at::Device on);
  bool narrows(at::ScalarType type) const { return computes && type == at::kFloat; }
  bool widens(at::ScalarType type) const { return computes && type == *computes; }
  const char *keep(std::string text) { return texts.emplace_back(std::move(text)).c_str(); }
};

struct Results {
  std::list<std::string> texts;
  std::list<std::vector<int64_t>> shapes;
  // In memory that the processor reads.
  std::vector<at::Tensor> tensors;
  std::vector<Output> outputs;

  const char *keep(std::string text) { return texts.emplace_back(std::move(text)).c_str(); }
};

// Memory of an instance through which its tensors go to the device and come back.
struct Staging {
  at::Tensor up;
  at::Tensor down;
};

// pixels.cpp: what the device makes of pixels, and makes pixels of.
at::Tensor converted(const at::Tensor &pixels, const Pixels &by, at::ScalarType type);
std::optional<at::Tensor> picture_of(const at::Tensor &output, const Picture &picture);

// transfer.cpp: tensors on their way to the device, and back.
std::vector<at::Tensor> tensors_of(const Module &module, const Call &call, Staging &staging);
void give_all(Results &into, const Module &module, const Call &call, Staging &staging, at::IValue value);
