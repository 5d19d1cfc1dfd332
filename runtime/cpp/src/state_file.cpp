// Saving and loading of states, as runtime/state.py does it.

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>

#include "contract.h"
#include "error.h"
#include "record.h"
#include "safetensors.h"
#include "state.h"

namespace mavos {

namespace fs = std::filesystem;
using contract::kIdentities;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr int64_t kMostPixels = 1 << 16;  // of a side
constexpr int64_t kMostFrames = int64_t{1} << 62;

ordered_json pair(const Size& size) {
  return std::array<int64_t, 2>{size.height, size.width};
}

std::string counters(const State& state) {
  ordered_json record;
  record["format_version"] = contract::kStateVersion;
  record["bundle"] = state.bundle;
  record["size"] = pair(state.size);
  record["input_size"] = pair(state.input_size);
  record["ids"] = std::vector<int64_t>(state.ids.begin(), state.ids.end());
  record["visible"] = state.visible;
  record["removed"] = state.removed;
  record["frame"] = state.frame;
  record["since_update"] = state.since_update;
  record["updated"] = state.updated;
  record["writes"] = state.writes;
  return python_json(record);
}

// The file appears whole or not at all.
void write_file(const std::string& path, const std::string& bytes) {
  std::error_code code;
  fs::path target = fs::weakly_canonical(fs::absolute(path), code);
  if (code) refuse_input("cannot write " + path + ": " + code.message());
  if (fs::is_directory(target, code)) {
    refuse_input("cannot write " + path + ": it is a folder; give the name of a file");
  }
  fs::create_directories(target.parent_path(), code);
  if (code) refuse_input("cannot write " + path + ": " + code.message());
  std::random_device random;
  const fs::path temporary =
      target.parent_path() / ("." + target.stem().string() + "." + std::to_string(random()) +
                              ".part" + target.extension().string());
  const auto fail = [&](const std::string& reason) {
    fs::remove(temporary, code);
    refuse_input("cannot write " + path + ": " + reason);
  };
  std::ofstream stream(temporary, std::ios::binary);
  if (!stream) fail(std::error_code(errno, std::generic_category()).message());
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  if (!stream) fail(std::error_code(errno, std::generic_category()).message());
  fs::rename(temporary, target, code);
  if (code) fail(code.message());
}

Size side_pair(const Place& place) {
  if (place.size() != 2) place.refuse("expected `array` of length 2");
  return {place.item(0).integer(1, kMostPixels), place.item(1).integer(1, kMostPixels)};
}

State read_counters(const Place& place) {
  State state;
  state.bundle = place["bundle"].text();
  state.size = side_pair(place["size"]);
  state.input_size = side_pair(place["input_size"]);
  const Place ids = place["ids"];
  if (ids.size() == 0) ids.refuse("expected `array` of length >= 1");
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<uint8_t>(ids.item(i).integer(1, contract::kVoid - 1));
    for (const uint8_t other : state.ids) {
      if (other == id) throw Reason("`ids` holds an id twice");
    }
    state.ids.push_back(id);
  }
  const auto known = static_cast<int64_t>(state.ids.size());
  state.visible = place["visible"].integer(0, kMostFrames);
  const Place removed = place["removed"];
  for (size_t i = 0; i < removed.size(); ++i) {
    state.removed.insert(removed.item(i).integer(0, kMostFrames));
  }
  state.frame = place["frame"].integer(0, kMostFrames);
  state.since_update = place["since_update"].integer(0, kMostFrames);
  const Place updated = place["updated"];
  for (size_t i = 0; i < updated.size(); ++i) {
    const Place count = updated.item(i);
    // States of releases that knew one rule of the memory say true for any number.
    state.updated.push_back(count.value().is_boolean() ? count.boolean()
                                                       : count.integer(0, kMostFrames));
  }
  if (place.object().contains("writes")) state.writes = place["writes"].integer(0, kMostFrames);
  if (known > state.groups() * kIdentities) {
    throw Reason(std::to_string(known) + " `ids` in " + std::to_string(state.groups()) +
                 " groups of " + std::to_string(kIdentities));
  }
  if (state.visible > known) {
    throw Reason("`visible` is " + std::to_string(state.visible) + ", and there are " +
                 std::to_string(known) + " ids");
  }
  for (const int64_t internal : state.removed) {
    if (internal < 1 || internal > known) {
      throw Reason("`removed` holds " + std::to_string(internal) + ", which is no internal id");
    }
  }
  return state;
}

bool is_finite(const Tensor& tensor) {
  const auto count = static_cast<size_t>(elements(tensor.shape));
  const auto* singles = tensor.as<float>();
  const auto* halves = tensor.as<uint16_t>();
  for (size_t i = 0; i < count; ++i) {
    if (tensor.type == Type::float32 && !std::isfinite(singles[i])) return false;
    // All bits of a half's exponent are set in infinities and NaNs.
    constexpr uint16_t exponent = 0x7C00;
    if (tensor.type == Type::float16 && (halves[i] & exponent) == exponent) return false;
  }
  return true;
}

// Refuses tensors that differ from the memory of a state's groups at its size.
void check_memory(const State& state, const Manifest& manifest) {
  Size size;
  try {
    size = manifest.input_size(state.size);
  } catch (const Error& error) {  // no video is so small
    throw Reason(error.what());
  }
  if (state.input_size != size) {
    throw Reason("`input_size` is " + to_text(state.input_size) + ", and the bundle's is " +
                 to_text(size));
  }
  const auto specs = memory_specs(manifest.specs_at(size));
  std::set<std::string> known;
  for (const TensorSpec& spec : specs) {
    known.insert(spec.name);
    if (state.memory.count(spec.name) == 0) throw Reason("tensor " + spec.name + " is missing");
  }
  for (const auto& [name, tensor] : state.memory) {
    if (known.count(name) == 0) throw Reason("tensor " + name.substr(0, 40) + " is unknown");
  }
  for (const TensorSpec& spec : specs) {
    const Tensor& tensor = state.memory.at(spec.name);
    const Shape shape = shape_at(spec, state.groups());
    if (tensor.type != type_of(spec) || tensor.shape != shape) {
      throw Reason(spec.name + " is " + name_of(tensor.type) + " " + to_text(tensor.shape) +
                   ", not " + spec.dtype + " " + to_text(shape));
    }
    if (!is_finite(tensor)) throw Reason(spec.name + " holds values that aren't finite");
  }
}

[[noreturn]] void refuse_other_bundle(const std::string& path, const TensorFile& file,
                                      const Bundle& bundle) {
  bool held = false;
  for (const auto& [name, tensor] : file.tensors) held = held || tensor.type == Type::uint8;
  const char* kinds[] = {"float values", "int8 values"};
  if (held != bundle.manifest.levels()) {
    refuse_input(path + " holds " + kinds[held] + ", and the memory of " + bundle.path.string() +
                 " has " + kinds[!held] +
                 "; go on with the bundle that wrote it, or start again");
  }
  refuse_input(path + " is the state of another bundle; weights, frame size, memory gap, " +
               "precision and the scales of int8 values must agree");
}

TensorFile read_file(const std::string& path) {
  std::error_code code;
  if (!fs::exists(path, code)) refuse_input(path + ": no such file");
  try {
    return read_tensors(path);
  } catch (const Reason& reason) {
    refuse_input(path + " is not a saved state, or is damaged (" + reason.what() + ")");
  } catch (const fs::filesystem_error& error) {
    refuse_input(path + " is not a saved state, or is damaged (" + error.code().message() + ")");
  }
}

}  // namespace

void save_state(const State& state, const std::string& path) {
  write_file(path, tensor_bytes({state.memory, {{contract::kMetadata, counters(state)}}}));
}

State load_state(const std::string& path, const Bundle& bundle) {
  TensorFile file = read_file(path);
  json record;
  try {
    const auto text = file.metadata.find(contract::kMetadata);
    record = parse_json(text == file.metadata.end() ? "{}" : text->second);
    check_version(record, contract::kStateVersion);
  } catch (const Reason& reason) {
    refuse_input(path + " is not a state of this release (" + reason.what() + ")");
  }
  try {
    State state = read_counters(Place(record));
    if (state.bundle != bundle.manifest.identity()) refuse_other_bundle(path, file, bundle);
    state.memory = std::move(file.tensors);
    check_memory(state, bundle.manifest);
    return state;
  } catch (const Reason& reason) {
    refuse_input(path + " is not a whole state (" + reason.what() + "); save it again");
  }
}

}  // namespace mavos
