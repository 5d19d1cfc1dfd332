#include "memory_rule.h"

#include <algorithm>

#include "contract.h"

namespace mavos {

const char* MemoryRule::name() const {
  switch (kind) {
    case Kind::mca: return "mca";
    case Kind::annotations: return "annotations";
    case Kind::latest: return "latest";
    case Kind::lvos: return "lvos";
  }
  return "";
}

bool MemoryRule::has_bias() const { return slots > contract::kExactCopies; }

std::vector<std::string> MemoryRule::names() const {
  std::vector<std::string> found = {contract::kReference};
  for (int64_t slot = 1; slot < slots; ++slot) {
    found.push_back("dynamic" + (has_bias() ? std::to_string(slot) : ""));
  }
  return found;
}

std::optional<int64_t> MemoryRule::slot_for(int64_t entered, int64_t writes) const {
  const int64_t last = slots - 1;
  if (last == 0) return std::nullopt;
  // The last two take turns, in the same order in all groups.
  if (kind == Kind::lvos && entered + 1 >= last - 1) return last - 1 + (writes + 1) % 2;
  return std::min(entered + 1, last);
}

Tensor MemoryRule::bias(const std::vector<int64_t>& entered, int64_t writes) const {
  Draft<float> scores(Type::float32, {static_cast<int64_t>(entered.size()), slots});
  float* row = scores.data();
  for (const int64_t count : entered) {
    for (int64_t slot = 0; slot < slots; ++slot) {
      bool held = slot <= count;
      if (kind == Kind::lvos && count == slots - 2 && slot >= slots - 2) {
        held = slot == slots - 2 + writes % 2;
      }
      row[slot] = held ? 0.0F : contract::kEmptySlot;
    }
    row += slots;
  }
  return scores.done();
}

Tensor MemoryRule::full_bias(int64_t groups) const {
  return Draft<float>(Type::float32, {groups, slots}).done();
}

}  // namespace mavos
