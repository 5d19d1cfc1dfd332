#include "graphs.h"

#include <algorithm>

#include "contract.h"
#include "error.h"
#include "resize.h"

namespace mavos {

namespace {

constexpr size_t kKeptSizes = 4;  // video sizes whose interpolation matrices are kept

// A tensor with the rows of another one for some groups.
Tensor mixed(const Tensor& tensor, const Tensor& other, const std::vector<int64_t>& groups) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(tensor.as_bytes(),
                                                      tensor.as_bytes() + tensor.bytes());
  const size_t row = tensor.bytes() / static_cast<size_t>(tensor.shape[0]);
  for (const int64_t group : groups) {
    const size_t at = static_cast<size_t>(group) * row;
    std::copy_n(other.as_bytes() + at, row, bytes->data() + at);
  }
  return {tensor.type, tensor.shape, std::shared_ptr<const void>(bytes, bytes->data())};
}

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

Tensors Graphs::step(const Tensors& features, const State& state) const {
  Tensors bias;
  if (rule().has_bias()) bias[contract::kSlotBias] = rule().bias(state.updated, state.writes);
  const bool alone = std::all_of(state.updated.begin(), state.updated.end(),
                                 [](int64_t count) { return count == 0; });
  const bool one = alone && bundle_.has(contract::kStepOne);
  return run(one ? contract::kStepOne : contract::kStep, {&features, &state.memory, &bias});
}

Tensors Graphs::settle(const Tensors& features, const Tensors& labels, int64_t groups,
                       const Size& input_size, const Tensors* seen) const {
  Tensors bias;
  if (rule().has_bias()) bias[contract::kSlotBias] = rule().full_bias(groups);
  const auto step = bundle_.has(contract::kStepOne) ? contract::kStepOne : contract::kStep;
  // After pass i the memories of the first i blocks are those of the frame itself, whatever they
  // were before.
  Tensors fresh = seen ? write(*seen, labels) : blank(groups, input_size);
  for (int64_t pass = seen ? 1 : 0; pass < blocks(); ++pass) {
    Tensors memory = in_slot(contract::kShort, fresh);
    for (const std::string& slot : rule().names()) update(memory, in_slot(slot, fresh));
    fresh = write(run(step, {&features, &bias, &memory}), labels);
  }
  return fresh;
}

Tensors Graphs::decode(const Tensors& features, const Tensors& step, const State& state) const {
  const auto mask = object_mask(state.visible, state.groups(), state.removed);
  int64_t channels = contract::kChannels;
  const bool one = state.groups() == 1;
  if (backend_->any_shape() && one) {
    const auto used = std::find(mask.rbegin(), mask.rend(), 0.0F);
    channels = std::max(contract::kFewestUsed, static_cast<int64_t>(mask.rend() - used));
  }
  Draft<float> objects(Type::float32, {state.groups(), channels});
  std::copy(mask.begin(), mask.begin() + elements(objects.shape), objects.data());
  const Tensors own = {{"object_mask", objects.done()}};
  const Tensors sizes = interpolate(state.size, state.input_size);
  // Where channels can't be left out, a decoder for a single group does less.
  const bool special = one && !backend_->any_shape() && bundle_.has(contract::kDecoderOne);
  return run(special ? contract::kDecoderOne : contract::kDecoder, {&features, &step, &own, &sizes});
}

Tensors Graphs::write(const Tensors& step, const Tensors& labels) const {
  const Tensors values = run("memory_write", {&step, &labels});
  Tensors written;
  for (const std::string& name : memory_names(blocks())) {
    const auto value = values.find(name);
    written[name] = value != values.end() ? value->second : step.at(name);
  }
  return written;
}

Tensors Graphs::enter(const Tensors& written, const State& state, int64_t groups) const {
  const bool entered = std::any_of(state.updated.begin(), state.updated.end(),
                                   [](int64_t count) { return count > 0; });
  if (rule().merges() && entered) return merged(written, state, groups);
  std::vector<std::optional<int64_t>> targets;
  for (const int64_t count : state.updated) {
    targets.push_back(rule().slot_for(count, state.writes));
  }
  const auto names = rule().names();
  Tensors changed;
  for (size_t slot = 0; slot < names.size(); ++slot) {
    std::vector<int64_t> others;  // groups that write to another slot
    for (size_t group = 0; group < targets.size(); ++group) {
      if (targets[group] != static_cast<int64_t>(slot)) {
        others.push_back(static_cast<int64_t>(group));
      }
    }
    if (others.size() == targets.size()) continue;
    for (const auto& [name, tensor] : in_slot(names[slot], written)) {
      changed[name] = others.empty() ? tensor : mixed(tensor, state.memory.at(name), others);
    }
  }
  return changed;
}

Tensors Graphs::merged(const Tensors& written, const State& state, int64_t groups) const {
  Draft<int32_t> first(Type::int32, {groups});
  for (size_t group = 0; group < static_cast<size_t>(groups); ++group) {
    first.data()[group] = group >= state.updated.size() || state.updated[group] == 0;
  }
  const Tensors flags = {{"first_update", first.done()}};
  const Tensors made = run(contract::kMemoryUpdate, {&written, &state.memory, &flags});
  const std::string slot = rule().names()[1];
  Tensors dynamic;
  for (const std::string& name : memory_names(blocks())) {
    dynamic[slot + "_" + name] = made.at("updated_" + name);
  }
  return dynamic;
}

Tensors Graphs::blank(int64_t groups, const Size& input_size) const {
  Tensors zeros;
  const std::string prefix = std::string(contract::kShort) + "_";
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
