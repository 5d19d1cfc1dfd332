#include "state.h"

#include <algorithm>
#include <cstring>

#include "contract.h"
#include "error.h"

namespace mavos {

using contract::kChannels;
using contract::kIdentities;

Ids State::objects() const {
  const auto mask = object_mask(visible, groups(), removed);
  Ids followed;
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t group = i / static_cast<size_t>(kIdentities);
    const size_t channel = i % static_cast<size_t>(kIdentities) + 1;
    if (group < updated.size() && mask[group * static_cast<size_t>(kChannels) + channel] == 0) {
      followed.push_back(ids[i]);
    }
  }
  return followed;
}

namespace {

// A tensor of which some rows of the first axis are left.
Tensor with_rows(const Tensor& tensor, const std::vector<int64_t>& rows) {
  Shape shape = tensor.shape;
  const size_t row = tensor.bytes() / static_cast<size_t>(shape[0]);
  shape[0] = static_cast<int64_t>(rows.size());
  auto bytes = std::make_shared<std::vector<uint8_t>>(row * rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(bytes->data() + i * row, tensor.as_bytes() + static_cast<size_t>(rows[i]) * row,
                row);
  }
  return {tensor.type, shape, std::shared_ptr<const void>(bytes, bytes->data())};
}

// The state without one group; later groups move up.
State without_group(State state, int64_t group) {
  const int64_t first = group * kIdentities + 1;
  const int64_t last = first + kIdentities - 1;
  const auto moved = [last](int64_t internal) {
    return internal > last ? internal - kIdentities : internal;
  };
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < state.groups(); ++row) {
    if (row != group) rows.push_back(row);
  }
  Ids ids;
  for (size_t i = 0; i < state.ids.size(); ++i) {
    const auto internal = static_cast<int64_t>(i) + 1;
    if (internal < first || internal > last) ids.push_back(state.ids[i]);
  }
  std::set<int64_t> removed;
  for (const int64_t internal : state.removed) {
    if (internal < first || internal > last) removed.insert(moved(internal));
  }
  const bool at_end = group == state.groups() - 1;
  state.ids = std::move(ids);
  state.removed = std::move(removed);
  state.visible = at_end ? group * kIdentities : moved(state.visible);
  state.updated.erase(state.updated.begin() + group);
  for (auto& [name, tensor] : state.memory) tensor = with_rows(tensor, rows);
  return state;
}

}  // namespace

State with_write(State state) {
  for (int64_t& count : state.updated) ++count;
  ++state.writes;
  state.since_update = 0;
  return state;
}

State without_objects(const State& state, const std::vector<uint8_t>& ids) {
  const Ids followed = state.objects();
  const std::set<uint8_t> wanted(ids.begin(), ids.end());
  for (const uint8_t id : wanted) {
    if (std::find(followed.begin(), followed.end(), id) != followed.end()) continue;
    Ids sorted = followed;
    std::sort(sorted.begin(), sorted.end());
    refuse_input("no object " + std::to_string(id) + " to remove; the video has " +
                 to_text(Shape(sorted.begin(), sorted.end())));
  }
  State following = state;
  for (size_t i = 0; i < state.ids.size(); ++i) {
    if (wanted.count(state.ids[i])) following.removed.insert(static_cast<int64_t>(i) + 1);
  }
  return without_idle_groups(std::move(following));
}

State without_idle_groups(State state) {
  for (int64_t group = state.groups() - 1; group >= 0; --group) {
    const int64_t first = group * kIdentities + 1;
    const int64_t last =
        std::min(first + kIdentities - 1, static_cast<int64_t>(state.ids.size()));
    bool idle = true;
    for (int64_t internal = first; internal <= last; ++internal) {
      idle = idle && state.removed.count(internal) > 0;
    }
    if (state.groups() > 1 && idle) state = without_group(std::move(state), group);
  }
  return state;
}

Tensors with_new_groups(const State& state, const Tensors& fresh) {
  if (state.groups() == 0) return fresh;
  Tensors grown;
  for (const auto& [name, tensor] : fresh) {
    const Tensor& old = state.memory.at(name);
    auto bytes = std::make_shared<std::vector<uint8_t>>(tensor.bytes());
    std::memcpy(bytes->data(), old.as_bytes(), old.bytes());
    std::memcpy(bytes->data() + old.bytes(), tensor.as_bytes() + old.bytes(),
                tensor.bytes() - old.bytes());
    grown[name] = {tensor.type, tensor.shape, std::shared_ptr<const void>(bytes, bytes->data())};
  }
  return grown;
}

}  // namespace mavos
