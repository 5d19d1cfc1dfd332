// Object numbers: the video's own ids, internal ids, groups of ten; as runtime/objects.py has them.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "geometry.h"
#include "tensor.h"

namespace mavos {

using Labels = std::vector<uint8_t>;
using Ids = std::vector<uint8_t>;  // the video's own id of internal ids 1, 2, ...

// Gives internal ids to an annotation's objects, known and new, and adds the new ones to `ids`.
Labels number_objects(Ids& ids, const uint8_t* annotation, size_t pixels);

// Puts the video's own ids in place of internal ones, and 0 in place of others.
void write_own_ids(const Ids& ids, const uint8_t* labels, size_t pixels, uint8_t* out);

// Groups of ten that hold this many objects; at least one.
int64_t groups_for(int64_t objects);

// The decoder's summand for the logits of every channel, [groups * 11].
std::vector<float> object_mask(int64_t visible, int64_t groups, const std::set<int64_t>& removed);

// Each group's own label map at the network's input size, uint8 [groups, height, width].
Tensor split_groups(const uint8_t* labels, const Size& size, int64_t groups, const Size& target);

}  // namespace mavos
