// What the `pytorch` backend asks of libtorch, behind a plain C interface. No C++ exception leaves this file:
// what can fail returns null if it went well, else the reason, which the caller frees. raw.rs is the other side.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include "bridge.h"

namespace jit = torch::jit;

// The numbers by which the other side calls the types.
static_assert(int(at::kByte) == 0 && int(at::kFloat) == 6 && int(at::kBool) == 11 && int(at::kBFloat16) == 15);
static_assert(int(at::kUInt16) == 27 && int(at::kUInt32) == 28 && int(at::kUInt64) == 29);

Module::Module(const char *path, at::Device on) : module(jit::load(path, on)), device(on) { module.eval(); }

namespace {

// In how many forms fused operators are compiled, before those of further shapes are run one by one. One form takes all
// sizes, unless they are 1 or equal to another where those that it was made for were not.
constexpr size_t FUSED_FORMS = 4;

char *text(const char *reason) {
  char *copy = strdup(reason);
  // Without memory for the reason there is none for anything else either.
  if (!copy) std::abort();
  return copy;
}

template <typename Work> char *guarded(Work work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const c10::Error &error) {
    return text(error.what_without_backtrace());
  } catch (const std::exception &error) {
    return text(error.what());
  } catch (...) {
    return text("an exception of an unknown kind");
  }
}

at::Device device_of(int32_t number) {
  return number < 0 ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<at::DeviceIndex>(number));
}

// --- What a module takes and gives ---

bool is_tensor(const at::TypePtr &type) { return type->isSubtypeOf(*at::TensorType::get()); }

Takes what_takes(at::TypePtr type) {
  if (auto optional = type->cast<at::OptionalType>()) type = optional->getElementType();
  if (is_tensor(type)) return TENSOR;
  if (auto list = type->cast<at::ListType>(); list && is_tensor(list->getElementType())) return LIST;
  auto dict = type->cast<at::DictType>();
  bool named = dict && dict->getKeyType()->kind() == at::TypeKind::StringType;
  return named && is_tensor(dict->getValueType()) ? DICT : OTHER;
}

void describe_argument(Module &into, const c10::Argument &argument) {
  std::optional<at::IValue> value = argument.default_value();
  if (!value && argument.type()->kind() == at::TypeKind::OptionalType) value = at::IValue();
  into.arguments.push_back({into.keep(argument.name()), into.keep(argument.type()->str()),
                            what_takes(argument.type()), value.has_value()});
  into.defaults.push_back(std::move(value));
}

void describe_return(Module &into, const at::TypePtr &type, const char *name) {
  if (is_tensor(type)) {
    into.return_names.push_back(name);
  } else if (auto tuple = type->cast<at::TupleType>()) {
    for (size_t i = 0; i < tuple->elements().size(); i++) {
      bool named = tuple->schema() != nullptr;
      auto field = named ? into.keep(tuple->schema()->arguments()[i].name()) : nullptr;
      describe_return(into, tuple->elements()[i], field);
    }
  } else {
    into.returns_known = false;
  }
}

// A module in eval mode: what it does only in training does not count.
void drop_training(jit::Block *block) {
  for (jit::Node *node : block->nodes()) {
    if (node->kind() == c10::prim::GetAttr && node->s(c10::attr::name) == "training") {
      jit::WithInsertPoint here(node);
      node->output()->replaceAllUsesWith(node->owningGraph()->insertConstant(false));
    }
    for (jit::Block *inner : node->blocks()) drop_training(inner);
  }
}

bool writes_state(jit::Block *block, const jit::AliasDb &aliases) {
  for (jit::Node *node : block->nodes()) {
    auto kind = node->kind();
    // What can't be seen into may do anything.
    if (kind == c10::prim::SetAttr || kind == c10::prim::CallMethod || kind == c10::prim::CallFunction ||
        node->hasAttribute(c10::attr::Subgraph))
      return true;
    bool kept = kind == c10::prim::GetAttr || kind == c10::prim::Constant;
    if (kept && node->outputs().size() == 1 && aliases.hasWriters(node->output())) return true;
    for (jit::Block *inner : node->blocks())
      if (writes_state(inner, aliases)) return true;
  }
  return false;
}

// Whether `forward` may change what a later call finds, so that threads can't share the module.
bool keeps_state(const jit::Module &module) {
  auto graph = jit::toGraphFunction(module.get_method("forward").function()).graph()->copy();
  jit::Inline(*graph);
  drop_training(graph->block());
  jit::ConstantPropagation(graph);
  jit::AliasDb aliases(graph);
  return writes_state(graph->block(), aliases);
}

void describe(Module &into) {
  auto forward = into.module.find_method("forward");
  TORCH_CHECK(forward, "it has no method `forward`");
  const auto &schema = forward->function().getSchema();
  // The first is the module itself.
  for (size_t i = 1; i < schema.arguments().size(); i++) describe_argument(into, schema.arguments()[i]);
  for (const auto &value : schema.returns()) describe_return(into, value.type(), nullptr);
  into.keeps_state = keeps_state(into.module);
}

// --- Arguments ---

bool has_channels(const at::Tensor &tensor) { return tensor.dim() == 4 && tensor.is_floating_point(); }

void put_channels_last(std::vector<at::Tensor> &tensors) {
  for (at::Tensor &tensor : tensors)
    if (has_channels(tensor)) tensor = tensor.contiguous(at::MemoryFormat::ChannelsLast);
}

template <typename Tensors> void put_weights_channels_last(const Tensors &weights) {
  for (at::Tensor weight : weights)
    if (has_channels(weight)) weight.set_data(weight.contiguous(at::MemoryFormat::ChannelsLast));
}

at::IValue list_of(const std::vector<at::Tensor> &tensors) {
  c10::List<at::Tensor> list;
  for (const at::Tensor &tensor : tensors) list.push_back(tensor);
  return list;
}

at::IValue dict_of(const Call &call, const std::vector<at::Tensor> &tensors) {
  c10::Dict<std::string, at::Tensor> dict;
  for (size_t i = 0; i < call.count; i++) dict.insert(call.inputs[i].name, tensors[i]);
  return dict;
}

std::vector<at::IValue> arguments_of(const Module &module, const Call &call, std::vector<at::Tensor> tensors) {
  if (module.channels_last) put_channels_last(tensors);
  std::vector<at::IValue> values;
  for (size_t i = 0; i < module.arguments.size(); i++) {
    const Input *end = call.inputs + call.count;
    const Input *input = std::find_if(call.inputs, end, [&](const Input &it) { return it.argument == i; });
    if (input == end) {
      TORCH_CHECK(module.defaults[i], "forward's argument `", module.arguments[i].name, "` was not given");
      values.push_back(*module.defaults[i]);
    } else if (call.takes == LIST) {
      values.push_back(list_of(tensors));
    } else if (call.takes == DICT) {
      values.push_back(dict_of(call, tensors));
    } else {
      values.push_back(std::move(tensors[static_cast<size_t>(input - call.inputs)]));
    }
  }
  return values;
}

// --- Running ---

// The stream of an instance on a GPU is the current one while this lives, and has done its work when it ends.
struct OnStream {
  c10::OptionalStreamGuard guard;
  std::optional<c10::Stream> stream;

  OnStream(at::Device device, int64_t id) {
    if (device.is_cpu()) return;
    stream.emplace(c10::Stream::UNSAFE, device, id);
    guard.reset_stream(*stream);
  }
  void wait() {
    if (stream) stream->synchronize();
  }
  ~OnStream() {
    try {
      wait();
    } catch (...) {
      // A GPU that failed: what ran on it has said so, or its next use will.
    }
  }
};

// What holds for the thread while it runs a module.
struct Running {
  c10::InferenceMode inference;
  at::NoGradGuard no_grad;
  jit::GraphOptimizerEnabledGuard optimize;
  OnStream on_stream;

  Running(const Module &module, const Call &call)
      : inference(call.inference_mode), optimize(call.optimized), on_stream(module.device, call.stream) {
    // They are the thread's own. Its first use of them would set them to what another thread set last.
    if (at::get_num_threads() != call.threads) at::set_num_threads(call.threads);
  }
};

void run(const Module &module, const Call &call, Staging &staging, Results &into) {
  Running running(module, call);
  auto method = module.module.get_method("forward");
  give_all(into, module, call, staging, method(arguments_of(module, call, tensors_of(module, call, staging))));
}

// The inputs of a call, on the device, and what they came there through.
struct Sent {
  Staging staging;
  std::vector<at::Tensor> tensors;
};

void send(const Module &module, const Call &call, Sent &into) {
  Running running(module, call);
  into.tensors = tensors_of(module, call, into.staging);
}

// Calls `forward` with what was sent, and waits for the device. What it gives stays there.
void compute(const Module &module, const Call &call, const Sent &sent) {
  Running running(module, call);
  module.module.get_method("forward")(arguments_of(module, call, sent.tensors));
  running.on_stream.wait();
}

// What was launched on the thread's own stream is done when this returns; modules are run on others.
void finish(at::Device device) {
  if (!device.is_cpu()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

// Numbers that are no floats stay: they count, or point at something.
template <typename Tensors> void narrow(const Tensors &tensors, at::ScalarType type) {
  for (at::Tensor tensor : tensors)
    if (tensor.is_floating_point()) tensor.set_data(tensor.to(type));
}

double difference(const at::Tensor &one, const at::Tensor &other) {
  if (one.sizes() != other.sizes() || one.scalar_type() != other.scalar_type())
    return std::numeric_limits<double>::infinity();
  if (one.numel() == 0) return 0;
  auto wide = other.to(at::kDouble);
  auto scale = std::max(1e-6, wide.abs().max().item<double>());
  return (one.to(at::kDouble) - wide).abs().max().item<double>() / scale;
}

} // namespace

extern "C" {

void frameserve_torch_text_free(char *text) { std::free(text); }

// What counts for all modules of the process: whether GPUs may round 32-bit floats to TF32 where they multiply them.
void frameserve_torch_settle(bool tf32) noexcept {
  at::globalContext().setAllowTF32CuDNN(tf32);
  at::globalContext().setAllowTF32CuBLAS(tf32);
}

// Begins to use CUDA, whose library was loaded; the reason is the driver's, if it can't be.
char *frameserve_torch_start_cuda() {
  return guarded([] {
    at::globalContext().lazyInitDevice(at::kCUDA);
    // What is put together for a GPU is compiled while a batch waits for it, by default for each of the first sizes anew.
    jit::FusionStrategy strategy{{jit::FusionBehavior::DYNAMIC, FUSED_FORMS}};
    jit::setFusionStrategy(strategy);
  });
}

// Whether a device still works: one on which something went wrong for good says so for as long as the process lives.
char *frameserve_torch_check(int32_t device) {
  return guarded([&] { finish(device_of(device)); });
}

// `computes` is the type to compute with in place of 32-bit floats, or -1.
char *frameserve_torch_load(const char *path, int32_t device, int32_t computes, Module **into) {
  return guarded([&] {
    auto where = device_of(device);
    c10::OptionalDeviceGuard guard(where.is_cpu() ? std::nullopt : std::optional(where));
    auto module = std::make_unique<Module>(path, where);
    if (computes >= 0) {
      at::NoGradGuard no_grad;
      module->computes = static_cast<at::ScalarType>(computes);
      narrow(module->module.parameters(), *module->computes);
      narrow(module->module.buffers(), *module->computes);
    }
    finish(where);
    describe(*module);
    *into = module.release();
  });
}

// Changes the module, which must be fresh: its weights, and what it is run with from now on.
char *frameserve_torch_channels_last(Module *module) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    c10::OptionalDeviceGuard guard(module->device.is_cpu() ? std::nullopt : std::optional(module->device));
    put_weights_channels_last(module->module.parameters());
    put_weights_channels_last(module->module.buffers());
    finish(module->device);
    module->channels_last = true;
  });
}

// Changes the module, which must be fresh. What it was before is lost.
char *frameserve_torch_optimize(Module *module) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto device = module->device;
    c10::OptionalDeviceGuard guard(device.is_cpu() ? std::nullopt : std::optional(device));
    module->module = jit::optimize_for_inference(module->module);
    finish(device);
  });
}

void frameserve_torch_free(Module *module) { delete module; }

const Argument *frameserve_torch_arguments(const Module *module, size_t *count) {
  *count = module->arguments.size();
  return module->arguments.data();
}

Returns frameserve_torch_returns(const Module *module) {
  if (!module->returns_known) return {-1, nullptr};
  return {static_cast<int64_t>(module->return_names.size()), module->return_names.data()};
}

bool frameserve_torch_keeps_state(const Module *module) { return module->keeps_state; }

// A stream of its own for an instance; on the CPU there is nothing of the kind.
char *frameserve_torch_stream(int32_t device, int64_t *id) {
  return guarded([&] {
    auto where = device_of(device);
    *id = 0;
    if (!where.is_cpu()) *id = c10::impl::VirtualGuardImpl(where.type()).getStreamFromGlobalPool(where).id();
  });
}

Staging *frameserve_torch_staging() noexcept { return new Staging; }

void frameserve_torch_staging_free(Staging *staging) { delete staging; }

char *frameserve_torch_run(const Module *module, const Call *call, Staging *staging, Results **into) {
  return guarded([&] {
    auto results = std::make_unique<Results>();
    run(*module, *call, *staging, *results);
    *into = results.release();
  });
}

char *frameserve_torch_send(const Module *module, const Call *call, Sent **into) {
  return guarded([&] {
    auto sent = std::make_unique<Sent>();
    send(*module, *call, *sent);
    *into = sent.release();
  });
}

char *frameserve_torch_compute(const Module *module, const Call *call, const Sent *sent) {
  return guarded([&] { compute(*module, *call, *sent); });
}

void frameserve_torch_sent_free(Sent *sent) { delete sent; }

const Output *frameserve_torch_outputs(const Results *results, size_t *count) {
  *count = results->outputs.size();
  return results->outputs.data();
}

// The largest distance of two elements in the same place, in parts of the largest element.
char *frameserve_torch_difference(const Results *one, const Results *other, double *into) {
  return guarded([&] {
    *into = one->tensors.size() == other->tensors.size() ? 0 : std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < std::min(one->tensors.size(), other->tensors.size()); i++) {
      double here = difference(one->tensors[i], other->tensors[i]);
      // A NaN is far from everything.
      if (!(here <= *into)) *into = here;
    }
  });
}

void frameserve_torch_results_free(Results *results) { delete results; }

} // extern "C"
