#include "objects.h"

#include <algorithm>
#include <array>

#include "contract.h"
#include "resize.h"

namespace mavos {

using contract::kChannels;
using contract::kIdentities;

Labels number_objects(Ids& ids, const uint8_t* annotation, size_t pixels) {
  std::array<bool, 256> present{};
  for (size_t i = 0; i < pixels; ++i) present[annotation[i]] = true;
  for (size_t value = 1; value < present.size(); ++value) {
    const auto id = static_cast<uint8_t>(value);
    if (present[value] && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  std::array<uint8_t, 256> table{};
  for (size_t i = 0; i < ids.size(); ++i) table[ids[i]] = static_cast<uint8_t>(i + 1);
  Labels numbered(pixels);
  for (size_t i = 0; i < pixels; ++i) numbered[i] = table[annotation[i]];
  return numbered;
}

void write_own_ids(const Ids& ids, const uint8_t* labels, size_t pixels, uint8_t* out) {
  std::array<uint8_t, 256> table{};
  bool same = true;  // as they mostly are; a copy takes a tenth of the time
  for (size_t i = 0; i < ids.size(); ++i) {
    table[i + 1] = ids[i];
    same = same && ids[i] == i + 1;
  }
  uint8_t highest = 0;
  for (size_t i = 0; i < pixels; ++i) highest = std::max(highest, labels[i]);
  if (same && highest <= ids.size()) {
    std::copy_n(labels, pixels, out);
  } else {
    std::transform(labels, labels + pixels, out, [&table](uint8_t label) { return table[label]; });
  }
}

int64_t groups_for(int64_t objects) {
  return std::max<int64_t>(1, (objects + kIdentities - 1) / kIdentities);
}

std::vector<float> object_mask(int64_t visible, int64_t groups, const std::set<int64_t>& removed) {
  std::vector<float> mask(static_cast<size_t>(groups * kChannels), 0.0F);
  // As upstream, every group but the last counts as full.
  int64_t last = visible;
  if (groups > 1) last = visible % kIdentities ? visible % kIdentities : kIdentities;
  for (int64_t channel = last + 1; channel < kChannels; ++channel) {
    mask[static_cast<size_t>((groups - 1) * kChannels + channel)] = contract::kUnusedObject;
  }
  for (const int64_t internal : removed) {
    const int64_t group = (internal - 1) / kIdentities;
    const int64_t channel = (internal - 1) % kIdentities + 1;
    mask[static_cast<size_t>(group * kChannels + channel)] = contract::kUnusedObject;
  }
  return mask;
}

Tensor split_groups(const uint8_t* labels, const Size& size, int64_t groups, const Size& target) {
  const Labels resized = resize_labels(labels, size, target);
  Draft<uint8_t> split(Type::uint8, {groups, target.height, target.width});
  uint8_t* out = split.data();
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * kIdentities;
    for (const uint8_t label : resized) {
      const int64_t own = label - first;
      *out++ = own > 0 && own <= kIdentities ? static_cast<uint8_t>(own) : uint8_t{0};
    }
  }
  return split.done();
}

}  // namespace mavos
