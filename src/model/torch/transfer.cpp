// Tensors on their way to the device, and what comes back.
//
// A GPU reads and writes memory of the processor by itself only where that is pinned; else the driver copies everything
// once more, and the thread waits. So all that goes up is gathered in pinned memory of the instance, and comes down to it.

#include <algorithm>
#include <cstring>

#include <c10/core/impl/VirtualGuardImpl.h>

#include "bridge.h"

namespace {

// --- Memory ---

// What lies in one piece of memory begins at multiples of this.
constexpr int64_t ALIGNED = 64;

int64_t aligned(int64_t size) { return (size + ALIGNED - 1) / ALIGNED * ALIGNED; }

// Makes room for so many bytes. What was in it is lost, so nothing may be on its way meanwhile.
void reserve(at::Tensor &memory, int64_t size, at::Device device) {
  if (size == 0 || (memory.defined() && memory.numel() >= size)) return;
  // The old one goes first, and both need not be there at a time.
  memory = at::Tensor();
  memory = at::empty({size}, at::TensorOptions().dtype(at::kByte).pinned_memory(device.is_cuda()));
}

// On the processor there is nothing to be copied to; there only pixels take the way over the memory of the instance, as
// the same code does for a GPU.
bool is_staged(const Module &module, const Input &input) { return !module.device.is_cpu() || input.pixels; }
bool is_staged(const Module &module, const Call &call) { return !module.device.is_cpu() || call.picture; }

int64_t size_of(const Input &input) {
  size_t size = 0;
  for (size_t i = 0; i < input.part_count; i++) size += input.parts[i].size;
  return static_cast<int64_t>(size);
}

void gather(const Input &input, void *into) {
  size_t at = 0;
  for (size_t i = 0; i < input.part_count; i++) {
    auto [data, size] = input.parts[i];
    if (size > 0) std::memcpy(static_cast<char *>(into) + at, data, size);
    at += size;
  }
}

// --- Up ---

// The tensor as it came, on the device. `at` is where its bytes lie in the memory of the instance.
at::Tensor sent(const Module &module, const Input &input, Staging &staging, int64_t at) {
  auto type = input.pixels ? at::kByte : static_cast<at::ScalarType>(input.type);
  auto dims = input.pixels ? at::IntArrayRef(input.pixels->dims) : at::IntArrayRef(input.dims, input.rank);
  auto tensor = at::empty(dims, at::TensorOptions(module.device).dtype(type));
  auto size = size_of(input);
  TORCH_CHECK(size == static_cast<int64_t>(tensor.nbytes()), size, " bytes for a tensor of ", tensor.nbytes());
  if (size == 0) return tensor;
  if (!is_staged(module, input)) {
    gather(input, tensor.data_ptr());
    return tensor;
  }
  auto bytes = staging.up.narrow(0, at, size);
  gather(input, bytes.data_ptr());
  // It is used again when the instance runs again, and before that its stream is waited for.
  tensor.flatten().view(at::kByte).copy_(bytes, /*non_blocking=*/true);
  return tensor;
}

at::Tensor tensor_of(const Module &module, const Input &input, Staging &staging, int64_t at) {
  auto tensor = sent(module, input, staging, at);
  if (input.pixels) {
    auto type = static_cast<at::ScalarType>(input.type);
    tensor = converted(tensor, *input.pixels, type).reshape(at::IntArrayRef(input.dims, input.rank));
  }
  return module.narrows(tensor.scalar_type()) ? tensor.to(*module.computes) : tensor;
}

// --- Down ---

using Value = std::pair<std::string, at::IValue>;

// The tensor of an output, on its way.
struct Given {
  size_t output;
  at::Tensor tensor;
};

// Tuples, lists and dicts as their elements, whatever they are nested in.
void flatten(const std::string &name, const at::IValue &value, std::vector<Value> &into) {
  if (value.isTuple()) {
    auto type = value.type()->cast<at::TupleType>();
    const auto &elements = value.toTupleRef().elements();
    for (size_t i = 0; i < elements.size(); i++)
      flatten(type && type->schema() ? type->schema()->arguments()[i].name() : name, elements[i], into);
  } else if (value.isList()) {
    for (const at::IValue &element : value.toListRef()) flatten(name, element, into);
  } else if (value.isGenericDict()) {
    for (const auto &entry : value.toGenericDict())
      flatten(entry.key().isString() ? entry.key().toStringRef() : name, entry.value(), into);
  } else {
    into.emplace_back(name, value);
  }
}

// Which of the values is the picture, if one is.
size_t picture_among(const std::vector<Value> &values, const Picture *picture) {
  if (!picture) return values.size();
  bool named = std::any_of(values.begin(), values.end(), [](const Value &value) { return !value.first.empty(); });
  if (!picture->name || !named) return picture->place;
  auto is_it = [&](const Value &value) { return value.first == picture->name; };
  return static_cast<size_t>(std::find_if(values.begin(), values.end(), is_it) - values.begin());
}

bool is_plain(const at::Tensor &tensor) {
  return tensor.defined() && tensor.layout() == at::kStrided && !tensor.is_quantized();
}

const char *what_it_is(Results &into, const at::IValue &value) {
  if (!value.isTensor()) return into.keep(value.tagKind());
  const auto &tensor = value.toTensor();
  if (!tensor.defined()) return "an undefined tensor";
  if (!is_plain(tensor)) return "a tensor that is sparse, quantized or otherwise opaque";
  return into.keep(c10::toString(tensor.scalar_type()));
}

// Lists a value among the outputs, and notes its tensor if it is one that can be given out.
void list(Results &into, const Module &module, Value value, const Picture *picture, std::vector<Given> &given) {
  const char *name = value.first.empty() ? nullptr : into.keep(value.first);
  Output output{name, what_it_is(into, value.second), -1, nullptr, 0, nullptr, 0, false};
  if (value.second.isTensor() && is_plain(value.second.toTensor())) {
    auto tensor = std::move(value.second).toTensor();
    if (module.widens(tensor.scalar_type())) tensor = tensor.to(at::kFloat);
    const auto &dims = into.shapes.emplace_back(tensor.sizes().vec());
    output.type = static_cast<int32_t>(tensor.scalar_type());
    output.dims = dims.data();
    output.rank = dims.size();
    auto pixels = picture ? picture_of(tensor, *picture) : std::nullopt;
    output.pixels = pixels.has_value();
    given.push_back({into.outputs.size(), pixels ? *pixels : std::move(tensor)});
  }
  into.outputs.push_back(output);
}

// On the processor, a tensor's own memory is given out. What something else holds as well, such as the module, may be
// written to before it was read here.
at::Tensor own(at::Tensor tensor) {
  bool shared = tensor.use_count() > 1 || tensor.storage().use_count() > 1;
  auto host = tensor.resolve_conj().resolve_neg().to(at::kCPU).contiguous();
  return shared && host.is_alias_of(tensor) ? host.clone() : host;
}

void wait(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

// Has all of them copied at once, waits for that, and takes them out of the memory of the instance, which the next run
// needs.
void bring_down(std::vector<Given> &given, at::Device device, Staging &staging) {
  int64_t size = 0;
  for (auto &[_, tensor] : given) {
    tensor = tensor.resolve_conj().resolve_neg().contiguous();
    size += aligned(static_cast<int64_t>(tensor.nbytes()));
  }
  reserve(staging.down, size, device);
  std::vector<at::Tensor> places;
  int64_t at = 0;
  for (auto &[_, tensor] : given) {
    auto length = static_cast<int64_t>(tensor.nbytes());
    auto &place = places.emplace_back(length > 0 ? staging.down.narrow(0, at, length) : at::Tensor());
    if (length > 0) place.copy_(tensor.flatten().view(at::kByte), /*non_blocking=*/true);
    at += aligned(length);
  }
  wait(device);
  for (size_t i = 0; i < given.size(); i++) {
    auto &tensor = given[i].tensor;
    tensor = at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.scalar_type()));
    if (tensor.nbytes() > 0) std::memcpy(tensor.data_ptr(), places[i].data_ptr(), tensor.nbytes());
  }
}

} // namespace

std::vector<at::Tensor> tensors_of(const Module &module, const Call &call, Staging &staging) {
  int64_t size = 0;
  for (size_t i = 0; i < call.count; i++)
    if (is_staged(module, call.inputs[i])) size += aligned(size_of(call.inputs[i]));
  reserve(staging.up, size, module.device);
  std::vector<at::Tensor> tensors;
  int64_t at = 0;
  for (size_t i = 0; i < call.count; i++) {
    tensors.push_back(tensor_of(module, call.inputs[i], staging, at));
    if (is_staged(module, call.inputs[i])) at += aligned(size_of(call.inputs[i]));
  }
  return tensors;
}

void give_all(Results &into, const Module &module, const Call &call, Staging &staging, at::IValue value) {
  std::vector<Value> values;
  flatten("", value, values);
  value = at::IValue();
  size_t picture = picture_among(values, call.picture);
  std::vector<Given> given;
  for (size_t i = 0; i < values.size(); i++)
    list(into, module, std::move(values[i]), i == picture ? call.picture : nullptr, given);
  if (is_staged(module, call)) bring_down(given, module.device, staging);
  for (auto &[output, tensor] : given) {
    if (!is_staged(module, call)) tensor = own(std::move(tensor));
    into.outputs[output].data = tensor.data_ptr();
    into.outputs[output].size = tensor.nbytes();
    into.tensors.push_back(std::move(tensor));
  }
}
