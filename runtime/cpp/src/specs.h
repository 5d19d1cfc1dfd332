// The contract of a bundle's graphs: the rows of contract.h with the bundle's numbers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "geometry.h"
#include "memory_rule.h"
#include "tensor.h"

namespace mavos {

using Dim = std::variant<int64_t, std::string>;  // a fixed extent, or the name of an open one

struct TensorSpec {
  std::string name;
  std::string dtype;
  std::vector<Dim> shape;
  bool operator==(const TensorSpec& other) const {
    return name == other.name && dtype == other.dtype && shape == other.shape;
  }
};

std::string to_text(const std::vector<Dim>& shape);
Type type_of(const TensorSpec& spec);
// Whether a graph's own tensor has the shape: fixed extents are equal, open ones negative.
bool same_shape(const TensorSpec& spec, const Shape& found);
// The shape with a number for `groups`; all other extents must be fixed.
Shape shape_at(const TensorSpec& spec, int64_t groups);

struct GraphSpec {
  std::string name;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

// Shapes of a graph's outputs, in their order, by those of its inputs.
std::vector<Shape> output_shapes(const GraphSpec& spec, const Tensors& inputs);

struct Dimensions {
  std::array<int64_t, 3> features{};  // channels of the encoder's maps at strides 4, 8 and 16
  int64_t embedding = 0;
  int64_t key = 0;
  int64_t value = 0;
  int64_t blocks = 3;  // gated propagation blocks
};

// What the contract of a bundle depends on, but for the size of frames.
struct Network {
  Dimensions dimensions;
  MemoryRule memory;
  bool half = false;         // whether feature maps and memories are float16
  bool levels = false;       // whether the memory's values are levels of 8 bits
  bool step_one = false;     // whether there is a step that reads the reference alone, too
  bool decoder_one = false;  // whether there is a decoder for a single group, too
};

// The graphs in the order of a frame's way through them.
// size: frames in the network; none leaves them open.
std::vector<GraphSpec> graph_specs(const Network& network, const std::optional<Size>& size);

// Names of a slot's tensors, keys before values; without a slot those of a single frame.
std::vector<std::string> memory_names(int64_t blocks, const std::string& slot = "");

// The tensors of a video's memory: keys and values of every slot.
std::vector<TensorSpec> memory_specs(const std::vector<GraphSpec>& specs);

}  // namespace mavos
