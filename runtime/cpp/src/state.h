// The state of one video: a value that goes into a step and comes out of it.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "bundle.h"
#include "objects.h"
#include "tensor.h"

namespace mavos {

// See `State` in runtime/state.py.
struct State {
  std::string bundle;  // Manifest::identity
  Size size;           // of the video's frames
  Size input_size;     // that frames have in the network
  Ids ids;
  int64_t visible = 0;        // the largest internal id that is followed
  std::set<int64_t> removed;  // internal ids
  int64_t frame = 0;
  int64_t since_update = 0;
  // For each group, how many frames have entered its long-term memory after its reference.
  std::vector<int64_t> updated;
  int64_t writes = 0;  // to the long-term memory since the start, in whatever group
  Tensors memory;

  int64_t groups() const { return static_cast<int64_t>(updated.size()); }
  Ids objects() const;  // the video's own ids of the objects being followed
};

// The state after a frame has entered the long-term memory of all its groups.
State with_write(State state);
// The state in which objects are no longer followed; refuses ids that aren't.
State without_objects(const State& state, const std::vector<uint8_t>& ids);
// The state without the groups whose objects are all removed; one group always stays.
State without_idle_groups(State state);
// Tensors with the state's own rows, and rows of `fresh` for the groups that are new.
Tensors with_new_groups(const State& state, const Tensors& fresh);

void save_state(const State& state, const std::string& path);
State load_state(const std::string& path, const Bundle& bundle);

}  // namespace mavos
