#include "engines.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "error.h"

namespace mavos {

namespace {

constexpr const char* kAmperePlus = "ampere-plus";  // all GPUs from compute capability 8.0 on
constexpr size_t kNumbers = 3;  // of a release that are always known: major, minor, patch

std::optional<std::string> text_or_null(const Place& place) {
  if (place.value().is_null()) return std::nullopt;
  return place.text();
}

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

// Major and minor number; nothing where the text is no compute capability.
std::optional<std::pair<int, int>> capability_pair(const std::string& text) {
  const size_t dot = text.find('.');
  const bool fits = (dot == 1 || dot == 2) && text.size() == dot + 2 && text[0] != '0' &&
                    is_digit(text[0]) && is_digit(text[dot - 1]) && is_digit(text[dot + 1]);
  if (!fits) return std::nullopt;
  return std::pair(std::stoi(text.substr(0, dot)), text[dot + 1] - '0');
}

Shape shape_of(const Place& place) {
  Shape shape;
  for (size_t axis = 0; axis < place.size(); ++axis) shape.push_back(place.item(axis).integer());
  return shape;
}

Profile profile(const Place& place) {
  Profile found;
  for (const auto& item : place.object().items()) {
    const Place shapes = place[item.key()];
    if (shapes.size() != 3) shapes.refuse("expected `array` of length 3");
    shape_of(shapes.item(1));  // the best one
    found[item.key()] = {shape_of(shapes.item(0)), shape_of(shapes.item(2))};
  }
  return found;
}

void read_flags(const Place& flags, Engine& engine) {
  const auto given = [&flags](const char* key) { return flags.object().contains(key); };
  if (given("tf32")) engine.tf32 = flags["tf32"].boolean();
  if (given("version_compatible")) {
    engine.version_compatible = flags["version_compatible"].boolean();
  }
  if (given("hardware_compatible")) {
    engine.hardware_compatible =
        flags["hardware_compatible"].word({"none", "same-capability", kAmperePlus});
  }
  if (flags.has("memory_limit")) flags["memory_limit"].integer(1);
  for (const char* key : {"user_allocation", "own_gpu"}) {
    if (given(key)) flags[key].boolean();
  }
}

Engine read_engine(const Place& place) {
  Engine engine;
  engine.graph = place["graph"].text();
  engine.file = place["file"].text();
  engine.sha256 = place["sha256"].text();
  engine.graph_sha256 = place["graph_sha256"].text();
  engine.library = place["library"].word({"tensorrt", "tensorrt_rtx"});
  engine.version = place["version"].text();
  engine.capability = place["capability"].text();
  if (!capability_pair(engine.capability)) {
    place.refuse("compute capability '" + engine.capability.substr(0, 20) +
                 "'; expected a number such as 8.6");
  }
  engine.gpu = text_or_null(place["gpu"]);
  text_or_null(place["driver"]);
  read_flags(place["flags"], engine);
  const Place profiles = place["profiles"];
  for (size_t i = 0; i < profiles.size(); ++i) {
    engine.profiles.push_back(profile(profiles.item(i)));
  }
  return engine;
}

// The numbers of a release without leading zeros, each with its length first, so that they compare
// as numbers however long they are.
using Numbers = std::vector<std::pair<size_t, std::string>>;

Numbers numbers_of(const std::string& version) {
  Numbers numbers;
  for (size_t at = 0; at < version.size();) {
    size_t end = at;
    while (end < version.size() && is_digit(version[end])) ++end;
    if (end == at) {
      ++at;
      continue;
    }
    while (at < end && version[at] == '0') ++at;
    const std::string number = version.substr(at, end - at);
    numbers.emplace_back(number.size(), number);
    at = end;
  }
  return numbers;
}

bool runs_on(const Engine& engine, const std::string& capability) {
  if (engine.hardware_compatible != kAmperePlus) return engine.capability == capability;
  const auto own = capability_pair(capability);
  return own && own->first >= 8;
}

// Releases are named by three numbers, and sometimes by a fourth, that of the build.
bool runs_with(const Engine& engine, const std::string& version) {
  Numbers built = numbers_of(engine.version);
  Numbers own = numbers_of(version);
  const size_t known = std::min(built.size(), own.size());
  if (known >= kNumbers) {
    built.resize(known);
    own.resize(known);
  }
  return engine.version_compatible ? own >= built : own == built;
}

bool made_for(const Engine& engine, const std::string& gpu) {
  return engine.hardware_compatible != "none" || !engine.gpu || *engine.gpu == gpu;
}

std::string to_x(const Shape& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

bool within(const ShapeRange& range, const Shape& shape) {
  if (range.smallest.size() != shape.size() || range.largest.size() != shape.size()) return false;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] < range.smallest[axis] || shape[axis] > range.largest[axis]) return false;
  }
  return true;
}

}  // namespace

std::vector<Engine> read_engines(const Place& place) {
  std::vector<Engine> engines;
  for (size_t i = 0; i < place.size(); ++i) engines.push_back(read_engine(place.item(i)));
  return engines;
}

std::string build_command(const std::string& bundle, const std::string& library) {
  return "mavos-build " + bundle + " --library " + library;
}

const Engine& choose(const std::vector<Engine>& engines, const Wanted& wanted,
                     const Machine& machine) {
  // An engine for this very capability and GPU comes before those that are merely compatible; where
  // none can be loaded, it tells why.
  const auto distance = [&](const Engine& engine) {
    return std::tuple(!(runs_with(engine, machine.version) && made_for(engine, machine.gpu)),
                      engine.capability != machine.capability, engine.gpu != machine.gpu);
  };
  const Engine* nearest = nullptr;
  std::string capabilities;
  for (const Engine& engine : engines) {
    if (engine.graph != wanted.graph || engine.library != machine.library) continue;
    capabilities += (capabilities.empty() ? "" : ", ") + engine.capability;
    if (!runs_on(engine, machine.capability)) continue;
    if (!nearest || distance(engine) < distance(*nearest)) nearest = &engine;
  }
  const std::string build = "; run " + build_command(wanted.bundle, machine.library);
  if (!nearest) {
    refuse_backend(wanted.bundle + " has no " + machine.library + " engine of " + wanted.graph +
                   " for compute capability " + machine.capability + " (built for: " +
                   (capabilities.empty() ? "none at all" : capabilities) + ")" + build);
  }
  const std::string built = wanted.bundle + ": the engine of " + wanted.graph + " was built";
  if (!runs_with(*nearest, machine.version)) {
    refuse_backend(built + " by " + machine.library + " " + nearest->version +
                   " and can't be loaded by " + machine.version + build);
  }
  if (nearest->graph_sha256 != wanted.graph_sha256) {
    refuse_backend(built + " from another " + wanted.graph + ".onnx" + build);
  }
  if (!made_for(*nearest, machine.gpu)) {
    refuse_backend(built + " on " + *nearest->gpu + ", with kernels for that, and this is " +
                   machine.gpu + build + " here, or there with --hardware-compatible ampere-plus");
  }
  return *nearest;
}

void check_shapes(const Engine& engine, const Tensors& inputs, const std::string& bundle) {
  for (const Profile& ranges : engine.profiles) {
    for (const auto& [name, range] : ranges) {
      const auto input = inputs.find(name);
      if (input == inputs.end() || within(range, input->second.shape)) continue;
      refuse_backend("the engine of " + engine.graph + " takes " + name + " from " +
                     to_x(range.smallest) + " to " + to_x(range.largest) + ", not " +
                     to_x(input->second.shape) +
                     "; build for more objects or larger videos with mavos-build " + bundle +
                     " --max-groups or --max-output");
    }
  }
}

}  // namespace mavos
