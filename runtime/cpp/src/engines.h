// TensorRT engines in a bundle: what the manifest says of each, and which one fits a machine, as in
// runtime/bundles/engines.py.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "record.h"
#include "tensor.h"

namespace mavos {

struct ShapeRange {  // of an input
  Shape smallest;
  Shape largest;
};
using Profile = std::map<std::string, ShapeRange>;  // of the inputs that vary

struct Engine {
  std::string graph;
  std::string file;  // relative path with forward slashes
  std::string sha256;
  std::string graph_sha256;  // of the ONNX file that it was built from
  std::string library;       // tensorrt or tensorrt_rtx
  std::string version;       // of that library
  std::string capability;    // compute capability, such as 8.6
  std::optional<std::string> gpu;  // that it was built on, unless it was built ahead of time
  bool tf32 = false;
  bool version_compatible = false;  // whether later releases of the library may load it
  std::string hardware_compatible = "none";
  std::vector<Profile> profiles;  // empty for a graph of fixed shapes
};

struct Machine {
  std::string library;
  std::string version;
  std::string capability;
  std::string gpu;
};

struct Wanted {
  std::string bundle;  // path, for messages
  std::string graph;
  std::string graph_sha256;
};

// The engines of a manifest; throws Reason (record.h).
std::vector<Engine> read_engines(const Place& place);

// The engine that fits a machine best. Refuses where none fits, with the command that builds one.
const Engine& choose(const std::vector<Engine>& engines, const Wanted& wanted,
                     const Machine& machine);

// Refuses inputs of shapes that an engine wasn't built for. bundle: its path, for the message.
void check_shapes(const Engine& engine, const Tensors& inputs, const std::string& bundle);

std::string build_command(const std::string& bundle, const std::string& library);

}  // namespace mavos
