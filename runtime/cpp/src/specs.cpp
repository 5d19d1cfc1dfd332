#include "specs.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>

#include "contract.h"
#include "error.h"

namespace mavos {

using contract::Extent;
using contract::Kind;

namespace {

// The number or the name that an extent of the contract has in a bundle.
class Extents {
 public:
  Extents(const Network& network, const std::optional<Size>& size)
      : dimensions_(network.dimensions), slots_(network.memory.slots), size_(size) {}

  Dim at(const Extent& extent) const {
    const std::string name = extent.name;
    if (const int64_t known = number(name)) return known * extent.factor;
    return name;
  }

 private:
  // 0 for an open extent.
  int64_t number(const std::string& name) const {
    if (name.empty()) return 1;
    if (name == "feature_4x") return dimensions_.features[0];
    if (name == "feature_8x") return dimensions_.features[1];
    if (name == "feature_16x") return dimensions_.features[2];
    if (name == "embedding") return dimensions_.embedding;
    if (name == "key") return dimensions_.key;
    if (name == "value") return dimensions_.value;
    if (name == "slots") return slots_;
    if (!size_) return 0;
    const bool tall = name.rfind("height", 0) == 0;
    if (!tall && name.rfind("width", 0) != 0) return 0;
    const int64_t side = tall ? size_->height : size_->width;
    const size_t bar = name.find('_');
    return bar == std::string::npos ? side
                                    : downsampled(side, std::atoll(name.c_str() + bar + 1));
  }

  Dimensions dimensions_;
  int64_t slots_;
  std::optional<Size> size_;
};

std::string dtype_of(Kind kind, bool half, bool levels) {
  const char* real = half ? contract::kRealFP16 : contract::kRealFP32;
  switch (kind) {
    case Kind::float32: return name_of(Type::float32);
    case Kind::int32: return name_of(Type::int32);
    case Kind::uint8: return name_of(Type::uint8);
    case Kind::real: return real;
    case Kind::memory_values: return levels ? contract::kLevels : real;
  }
  return "";
}

// Rows in a bundle: one tensor for each block, and these for each slot.
class RowReader {
 public:
  RowReader(const Network& network, const std::optional<Size>& size)
      : network_(network), extents_(network, size) {}

  std::vector<TensorSpec> at(const contract::Row* rows, size_t count) const {
    std::vector<TensorSpec> made;
    const contract::Row* end = rows + count;
    const contract::Row* first = std::find_if(rows, end, [](const auto& row) { return row.each_slot; });
    for (const contract::Row* row = rows; row != first; ++row) {
      if (row->name != std::string(contract::kSlotBias) || network_.memory.has_bias()) {
        add(*row, "", made);
      }
    }
    if (first == end) return made;
    auto slots = network_.memory.names();
    slots.emplace_back(contract::kShort);
    for (const std::string& slot : slots) {
      for (const contract::Row* row = first; row != end; ++row) add(*row, slot + "_", made);
    }
    return made;
  }

 private:
  void add(const contract::Row& row, const std::string& prefix,
           std::vector<TensorSpec>& made) const {
    std::vector<Dim> shape;
    for (size_t axis = 0; axis < row.rank; ++axis) shape.push_back(extents_.at(row.shape[axis]));
    const std::string dtype = dtype_of(row.kind, network_.half, network_.levels);
    if (row.first_block < 0) {
      made.push_back({prefix + row.name, dtype, shape});
      return;
    }
    for (int64_t block = row.first_block; block < network_.dimensions.blocks; ++block) {
      made.push_back({prefix + row.name + std::to_string(block), dtype, shape});
    }
  }

  const Network& network_;
  Extents extents_;
};

// The step without the slots behind the reference's.
GraphSpec step_one(const GraphSpec& step) {
  GraphSpec one{contract::kStepOne, {}, step.outputs};
  const std::array<std::string, 3> read = {std::string(contract::kReference) + "_",
                                           std::string(contract::kShort) + "_", "embedding"};
  std::copy_if(step.inputs.begin(), step.inputs.end(), std::back_inserter(one.inputs),
               [&read](const TensorSpec& spec) {
                 return std::any_of(read.begin(), read.end(), [&spec](const std::string& prefix) {
                   return spec.name.rfind(prefix, 0) == 0;
                 });
               });
  return one;
}

}  // namespace

std::string to_text(const Shape& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

std::string to_text(const std::vector<Dim>& shape) {
  std::string text;
  for (const Dim& dim : shape) {
    const auto* number = std::get_if<int64_t>(&dim);
    text += (text.empty() ? "" : ", ") +
            (number ? std::to_string(*number) : "'" + std::get<std::string>(dim) + "'");
  }
  return "[" + text + "]";
}

Type type_of(const TensorSpec& spec) {
  for (const Type type : {Type::float32, Type::float16, Type::int32, Type::uint8}) {
    if (spec.dtype == name_of(type)) return type;
  }
  throw Error(MAVOS_INTERNAL_ERROR, "no type is called " + spec.dtype);
}

Shape shape_at(const TensorSpec& spec, int64_t groups) {
  Shape shape;
  for (const Dim& dim : spec.shape) {
    const auto* number = std::get_if<int64_t>(&dim);
    shape.push_back(number ? *number : groups);
  }
  return shape;
}

bool same_shape(const TensorSpec& spec, const Shape& found) {
  const auto same = [](const Dim& dim, int64_t extent) {
    const auto* fixed = std::get_if<int64_t>(&dim);
    return fixed ? extent == *fixed : extent < 0;
  };
  return std::equal(spec.shape.begin(), spec.shape.end(), found.begin(), found.end(), same);
}

std::vector<Shape> output_shapes(const GraphSpec& spec, const Tensors& inputs) {
  std::map<std::string, int64_t> known;
  for (const TensorSpec& tensor : spec.inputs) {
    const Shape& shape = inputs.at(tensor.name).shape;
    for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      const auto* name = std::get_if<std::string>(&tensor.shape[axis]);
      if (name) known[*name] = shape.at(axis);
    }
  }
  const auto extent = [&](const Dim& dim) {
    if (const auto* number = std::get_if<int64_t>(&dim)) return *number;
    const std::string& name = std::get<std::string>(dim);
    const auto found = known.find(name);
    if (found != known.end()) return found->second;
    const size_t bar = name.find('_');  // such as height_16
    return downsampled(known.at(name.substr(0, bar)), std::atoll(name.c_str() + bar + 1));
  };
  std::vector<Shape> shapes;
  for (const TensorSpec& tensor : spec.outputs) {
    Shape shape;
    for (const Dim& dim : tensor.shape) shape.push_back(extent(dim));
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

std::vector<GraphSpec> graph_specs(const Network& network, const std::optional<Size>& size) {
  const RowReader reader(network, size);
  std::vector<GraphSpec> specs;
  for (const contract::Graph& graph : contract::kGraphs) {
    const std::string name = graph.name;
    if (name == contract::kDecoderOne && !network.decoder_one) continue;
    if (name == contract::kMemoryUpdate && !network.memory.merges()) continue;
    specs.push_back({name, reader.at(graph.inputs, graph.input_count),
                     reader.at(graph.outputs, graph.output_count)});
    if (name == contract::kStep && network.step_one) specs.push_back(step_one(specs.back()));
  }
  return specs;
}

std::vector<std::string> memory_names(int64_t blocks, const std::string& slot) {
  std::vector<std::string> names;
  const std::string prefix = slot.empty() ? "" : slot + "_";
  for (const char* part : {"key_", "value_"}) {
    for (int64_t block = 0; block < blocks; ++block) {
      names.push_back(prefix + part + std::to_string(block));
    }
  }
  return names;
}

std::vector<TensorSpec> memory_specs(const std::vector<GraphSpec>& specs) {
  const auto step = std::find_if(specs.begin(), specs.end(),
                                 [](const GraphSpec& spec) { return spec.name == contract::kStep; });
  std::vector<TensorSpec> found;
  std::copy_if(step->inputs.begin(), step->inputs.end(), std::back_inserter(found),
               [](const TensorSpec& spec) {
                 return spec.name != "embedding" && spec.name != contract::kSlotBias;
               });
  return found;
}

}  // namespace mavos
