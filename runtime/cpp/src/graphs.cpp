#include "graphs.h"

#include <algorithm>

#include "contract.h"
#include "error.h"
#include "resize.h"

namespace mavos {

namespace {

constexpr size_t kKeptSizes = 4;  // video sizes whose interpolation matrices are kept

}  // namespace

Tensors in_slot(const std::string& slot, const Tensors& written) {
  Tensors named;
  for (const auto& [name, tensor] : written) named[slot + "_" + name] = tensor;
  return named;
}

void update(Tensors& tensors, const Tensors& others) {
  for (const auto& [name, tensor] : others) tensors[name] = tensor;
}

Tensors Graphs::encode(const Tensor& resized) const {
  const Tensors frame = {{"frame", resized}};
  return run("encoder", {&frame});
}

Tensors Graphs::step(const Tensors& features, const Tensors& memory) const {
  return run("elstt_step", {&features, &memory});
}

Tensors Graphs::decode(const Tensors& features, const Tensors& step, const State& state) const {
  const auto mask = object_mask(state.visible, state.groups(), state.removed);
  int64_t channels = contract::kChannels;
  if (backend_->any_shape() && state.groups() == 1) {
    const auto used = std::find(mask.rbegin(), mask.rend(), 0.0F);
    channels = std::max(contract::kFewestUsed, static_cast<int64_t>(mask.rend() - used));
  }
  Draft<float> objects(Type::float32, {state.groups(), channels});
  std::copy(mask.begin(), mask.begin() + elements(objects.shape), objects.data());
  const Tensors own = {{"object_mask", objects.done()}};
  const Tensors sizes = interpolate(state.size, state.input_size);
  return run("decoder", {&features, &step, &own, &sizes});
}

Tensors Graphs::write(const Tensors& step, const Tensors& labels) const {
  const Tensors values = run("memory_write", {&step, &labels});
  Tensors written;
  for (const std::string& name : memory_names("")) {
    const auto value = values.find(name);
    written[name] = value != values.end() ? value->second : step.at(name);
  }
  return written;
}

Tensors Graphs::update_dynamic(const Tensors& written, const Tensors& memory,
                               const std::vector<bool>& updated) const {
  const char* slot = contract::kSlots[1];
  if (std::find(updated.begin(), updated.end(), true) == updated.end()) {
    return in_slot(slot, written);
  }
  Draft<int32_t> first(Type::int32, {static_cast<int64_t>(updated.size())});
  for (size_t group = 0; group < updated.size(); ++group) first.data()[group] = !updated[group];
  const Tensors flags = {{"first_update", first.done()}};
  const Tensors merged = run("memory_update", {&written, &memory, &flags});
  Tensors dynamic;
  for (const std::string& name : memory_names("")) {
    dynamic[std::string(slot) + "_" + name] = merged.at("updated_" + name);
  }
  return dynamic;
}

Tensors Graphs::blank(int64_t groups, const Size& input_size) const {
  Tensors zeros;
  const std::string prefix = std::string(contract::kSlots[0]) + "_";
  for (const TensorSpec& spec : memory_specs(bundle_.manifest.specs_at(input_size))) {
    if (spec.name.rfind(prefix, 0) != 0) continue;
    const Shape shape = shape_at(spec, groups);
    const auto bytes = static_cast<size_t>(elements(shape)) * bytes_of(type_of(spec));
    auto data = std::make_shared<std::vector<uint8_t>>(bytes);
    zeros[spec.name.substr(prefix.size())] = {
        type_of(spec), shape, std::shared_ptr<const void>(data, data->data())};
  }
  return zeros;
}

Tensors Graphs::interpolate(const Size& size, const Size& input_size) const {
  const std::lock_guard<std::mutex> guard(lock_);
  const std::pair key(size, input_size);
  for (const auto& [known, tensors] : interpolations_) {
    if (known == key) return tensors;
  }
  if (interpolations_.size() >= kKeptSizes) interpolations_.pop_front();
  interpolations_.emplace_back(key,
                               interpolation(size, input_size, bundle_.manifest.align_corners));
  return interpolations_.back().second;
}

Tensors Graphs::run(const std::string& graph,
                    std::initializer_list<const Tensors*> sources) const {
  Tensors inputs;
  for (const TensorSpec& spec : bundle_.spec(graph).inputs) {
    for (const Tensors* source : sources) {
      const auto found = source->find(spec.name);
      if (found != source->end()) inputs[spec.name] = found->second;
    }
    if (inputs.count(spec.name) == 0) {
      throw Error(MAVOS_INTERNAL_ERROR, graph + " takes " + spec.name + ", which nothing makes");
    }
  }
  return backend_->run(graph, inputs);
}

}  // namespace mavos
