// Rules of the long-term memory, as runtime/bundles/memory.py has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tensor.h"

namespace mavos {

struct MemoryRule {
  enum class Kind { mca, annotations, latest, lvos };

  Kind kind = Kind::mca;
  int64_t slots = 2;  // the reference's included

  bool operator==(const MemoryRule& other) const {
    return kind == other.kind && slots == other.slots;
  }

  const char* name() const;
  // Whether a frame enters at every memory gap; if not, annotated ones alone do.
  bool at_gaps() const { return kind != Kind::annotations; }
  // Whether frames are merged into what a slot holds, by the graph `memory_update`.
  bool merges() const { return kind == Kind::mca; }
  // Whether the graphs take a bias that says which slots are empty.
  bool has_bias() const;
  // Names of the slots, the reference's first.
  std::vector<std::string> names() const;
  // The slot that a group's next frame takes, if there is one for it.
  // entered: frames that have entered the group's memory after its reference.
  // writes: writes of the video so far, in whatever group.
  std::optional<int64_t> slot_for(int64_t entered, int64_t writes) const;
  // Whether an annotated frame finds an empty slot where annotations are to be kept.
  bool has_room(int64_t entered) const { return at_gaps() || entered < slots - 1; }
  // What is added to the scores of each group's slots, float32 [groups, slots].
  Tensor bias(const std::vector<int64_t>& entered, int64_t writes) const;
  // The same where every slot holds a frame.
  Tensor full_bias(int64_t groups) const;
};

}  // namespace mavos
