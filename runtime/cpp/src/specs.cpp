#include "specs.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "contract.h"
#include "error.h"

namespace mavos {

using contract::Extent;
using contract::Kind;

namespace {

// The number or the name that an extent of the contract has in a bundle.
class Extents {
 public:
  Extents(const Dimensions& dimensions, const std::optional<Size>& size)
      : dimensions_(dimensions), size_(size) {}

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
    if (!size_) return 0;
    const bool tall = name.rfind("height", 0) == 0;
    if (!tall && name.rfind("width", 0) != 0) return 0;
    const int64_t side = tall ? size_->height : size_->width;
    const size_t bar = name.find('_');
    return bar == std::string::npos ? side
                                    : downsampled(side, std::atoll(name.c_str() + bar + 1));
  }

  Dimensions dimensions_;
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

std::vector<TensorSpec> tensors(const contract::Row* rows, size_t count, const Extents& extents,
                                bool half, bool levels) {
  std::vector<TensorSpec> made;
  const contract::Row* end = rows + count;
  for (const contract::Row* row = rows; row != end; ++row) {
    std::vector<Dim> shape;
    for (size_t axis = 0; axis < row->rank; ++axis) shape.push_back(extents.at(row->shape[axis]));
    const std::string dtype = dtype_of(row->kind, half, levels);
    if (row->first_block < 0) {
      made.push_back({row->name, dtype, shape});
      continue;
    }
    for (int64_t block = row->first_block; block < contract::kBlocks; ++block) {
      made.push_back({row->name + std::to_string(block), dtype, shape});
    }
  }
  return made;
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

std::vector<GraphSpec> graph_specs(const Dimensions& dimensions, const std::optional<Size>& size,
                                   bool half, bool levels) {
  const Extents extents(dimensions, size);
  std::vector<GraphSpec> specs;
  for (const contract::Graph& graph : contract::kGraphs) {
    specs.push_back({graph.name,
                     tensors(graph.inputs, graph.input_count, extents, half, levels),
                     tensors(graph.outputs, graph.output_count, extents, half, levels)});
  }
  return specs;
}

std::vector<std::string> memory_names(const std::string& slot) {
  std::vector<std::string> names;
  const std::string prefix = slot.empty() ? "" : slot + "_";
  for (const char* part : {"key_", "value_"}) {
    for (int64_t block = 0; block < contract::kBlocks; ++block) {
      names.push_back(prefix + part + std::to_string(block));
    }
  }
  return names;
}

std::vector<TensorSpec> memory_specs(const std::vector<GraphSpec>& specs) {
  std::set<std::string> wanted;
  for (const char* slot : contract::kSlots) {
    for (const auto& name : memory_names(slot)) wanted.insert(name);
  }
  const auto step = std::find_if(specs.begin(), specs.end(),
                                 [](const GraphSpec& spec) { return spec.name == "elstt_step"; });
  std::vector<TensorSpec> found;
  std::copy_if(step->inputs.begin(), step->inputs.end(), std::back_inserter(found),
               [&](const TensorSpec& spec) { return wanted.count(spec.name) > 0; });
  return found;
}

}  // namespace mavos
