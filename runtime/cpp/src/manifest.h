// The manifest: what a bundle says of itself, as runtime/bundles/manifest.py reads it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engines.h"
#include "geometry.h"
#include "specs.h"

namespace mavos {

inline constexpr const char* kExport = "export the bundle again";

// Refuses a file that lacks a tensor of its contract.
[[noreturn]] void refuse_tensor(const std::string& path, const TensorSpec& spec);

struct GraphFile {
  std::string file;  // relative path with forward slashes
  std::string sha256;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

struct Levels {  // of one block's attention
  std::vector<double> scale;
  std::vector<int64_t> zero_point;
};

struct Quantisation {
  std::string kind;    // cpu, openvino or tensorrt
  std::string number;  // int8 or fp8
  std::map<std::string, std::vector<Levels>> attention;
};

struct Manifest {
  std::string variant;
  std::string weights_sha256;
  bool trained = false;
  Size size;  // that the graphs take, or are tuned for where they take any
  bool align_corners = false;
  Dimensions dimensions;
  std::optional<int64_t> memory_gap;  // none where annotated frames alone enter the memory
  MemoryRule memory;
  std::string precision;
  std::map<std::string, GraphFile> graphs;
  std::map<std::string, GraphFile> tiled;  // the step in tiles, by the one size that it takes
  std::vector<Engine> engines;
  bool dynamic = false;
  std::optional<Quantisation> quantisation;

  bool levels() const;  // whether the memory's values are levels of 8 bits
  const std::string& arithmetic() const;
  Size input_size(const Size& video) const;
  std::vector<GraphSpec> specs_at(const std::optional<Size>& frames) const;
  std::optional<Size> fixed_size() const;
  std::string identity() const;  // equal for bundles whose states fit each other

  // Refuses a text that is no manifest of this format; `name` is the file's name for the error.
  static Manifest from_json(const std::string& text, const std::string& name);
};

}  // namespace mavos
