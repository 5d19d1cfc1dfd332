#include "manifest.h"

#include <limits>

#include "contract.h"
#include "error.h"
#include "record.h"
#include "sha256.h"

namespace mavos {

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr double kLargest = std::numeric_limits<float>::max();
constexpr int64_t kMostChannels = 1 << 20;  // so that products of extents stay in range

std::vector<TensorSpec> tensors(const Place& place) {
  std::vector<TensorSpec> found;
  for (size_t i = 0; i < place.size(); ++i) {
    const Place tensor = place.item(i);
    TensorSpec spec{tensor["name"].text(), tensor["dtype"].text(), {}};
    const Place shape = tensor["shape"];
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      const Place extent = shape.item(axis);
      if (extent.value().is_string()) {
        spec.shape.emplace_back(extent.text());
      } else {
        spec.shape.emplace_back(extent.integer());
      }
    }
    found.push_back(std::move(spec));
  }
  return found;
}

std::map<std::string, GraphFile> graph_files(const Place& place) {
  std::map<std::string, GraphFile> files;
  for (const auto& [name, value] : place.object().items()) {
    const Place file = place[name];
    files[name] = {file["file"].text(), file["sha256"].text(), tensors(file["inputs"]),
                   tensors(file["outputs"])};
  }
  return files;
}

Levels levels(const Place& place) {
  Levels found;
  const Place scale = place["scale"];
  for (size_t i = 0; i < scale.size(); ++i) {
    const double number = scale.item(i).number(0, kLargest);
    if (number == 0) scale.item(i).refuse("expected `float` > 0.0, got 0");
    found.scale.push_back(number);
  }
  const Place zero = place["zero_point"];
  for (size_t i = 0; i < zero.size(); ++i) {
    found.zero_point.push_back(zero.item(i).integer(0, contract::kHighestLevel));
  }
  if (found.scale.size() != found.zero_point.size()) {
    place.refuse("scales of " + std::to_string(found.scale.size()) +
                 " channels and zero points of " + std::to_string(found.zero_point.size()) +
                 ", expected one of each for every channel");
  }
  return found;
}

void check_ranges(const Place& place) {
  for (const auto& graph : place.object().items()) {
    const Place tensors_of_graph = place[graph.key()];
    for (const auto& tensor : tensors_of_graph.object().items()) {
      const Place range = tensors_of_graph[tensor.key()];
      if (range.size() != 2) range.refuse("expected `array` of length 2");
      for (size_t i = 0; i < 2; ++i) range.item(i).number(-kLargest, kLargest);
    }
  }
}

void check_texts(const Place& place) {
  for (const auto& item : place.object().items()) place[item.key()].text();
}

Quantisation quantisation(const Place& place) {
  Quantisation found{place["target"].word({"cpu", "openvino", "tensorrt"}),
                     place["type"].word({"int8", "fp8"}),
                     {}};
  place["method"].word({"minmax", "percentile", "entropy"});
  const Place groups = place["groups"];
  for (const auto& item : groups.object().items()) {
    const Place names = groups[item.key()];
    for (size_t i = 0; i < names.size(); ++i) names.item(i).text();
  }
  check_ranges(place["ranges"]);
  check_texts(place["sources"]);
  place["data"].text();
  place["seed"].integer();
  if (found.kind != "tensorrt" && found.number != "int8") {
    place.refuse(found.number + " graphs for " + found.kind + " are unknown to this release");
  }
  if (!place.object().contains("attention")) return found;
  const Place attention = place["attention"];
  const bool scores = found.kind == "openvino";
  for (const auto& item : attention.object().items()) {
    if (item.key() != "memory" && item.key() != "self" && !(scores && item.key() == "scores")) {
      attention.refuse("attention '" + item.key().substr(0, 40) +
                       "' is unknown to this release, which reads memory, self" +
                       (scores ? ", scores" : ""));
    }
    const Place blocks = attention[item.key()];
    for (size_t i = 0; i < blocks.size(); ++i) {
      found.attention[item.key()].push_back(levels(blocks.item(i)));
    }
  }
  if (!found.attention.empty() && found.kind == "tensorrt") {
    place.refuse("attention in integers, which graphs for " + found.kind + " don't have");
  }
  return found;
}

Dimensions dimensions(const Place& place) {
  Dimensions found;
  const Place features = place["features"];
  if (features.size() != 3) features.refuse("expected `array` of length 3");
  for (size_t i = 0; i < 3; ++i) {
    found.features[i] = features.item(i).integer(1, kMostChannels);
  }
  found.embedding = place["embedding"].integer(1, kMostChannels);
  found.key = place["key"].integer(1, kMostChannels);
  found.value = place["value"].integer(1, kMostChannels);
  if (place.object().contains("blocks")) {
    found.blocks = place["blocks"].integer(1, contract::kMostBlocks);
  }
  return found;
}

MemoryRule memory_rule(const Place& place) {
  using Kind = MemoryRule::Kind;
  MemoryRule found;
  if (place.object().contains("rule")) {
    const std::string word = place["rule"].word({"mca", "annotations", "latest", "lvos"});
    for (const Kind kind : {Kind::mca, Kind::annotations, Kind::latest, Kind::lvos}) {
      found.kind = kind;
      if (word == found.name()) break;
    }
  }
  if (place.object().contains("slots")) {
    found.slots = place["slots"].integer(1, contract::kMostSlots);
  }
  const bool two = found.kind == Kind::mca || found.kind == Kind::latest;
  if (two && found.slots != 2) {
    place.refuse(std::string("memory ") + found.name() + " has 2 slots, not " +
                 std::to_string(found.slots));
  }
  if (found.kind == Kind::lvos && found.slots <= contract::kFewestLvos) {
    place.refuse("memory lvos has " + std::to_string(contract::kFewestLvos + 1) +
                 " slots or more, not " + std::to_string(found.slots));
  }
  return found;
}

Manifest decode(const json& data) {
  const Place place(data);
  Manifest found;
  found.variant = place["variant"].text();
  place["weights_source"].text();
  found.weights_sha256 = place["weights_sha256"].text();
  found.trained = place["trained"].boolean();
  found.size = {place["height"].integer(), place["width"].integer()};
  found.align_corners = place["align_corners"].boolean();
  found.dimensions = dimensions(place["dimensions"]);
  if (!place["memory_gap"].value().is_null()) found.memory_gap = place["memory_gap"].integer(1);
  if (data.contains("memory")) found.memory = memory_rule(place["memory"]);
  if (found.memory.at_gaps() != found.memory_gap.has_value()) {
    throw Reason(std::string("`memory_gap` is ") + (found.memory.at_gaps() ? "a number" : "null") +
                 " with memory " + found.memory.name());
  }
  found.precision = place["precision"].word({"fp32", "fp16"});
  place["target"].word({"cpu", "gpu"});
  found.graphs = graph_files(place["graphs"]);
  check_texts(place["tools"]);
  if (place.has("parity")) place["parity"].object();
  if (data.contains("engines")) found.engines = read_engines(place["engines"]);
  if (data.contains("dynamic")) found.dynamic = place["dynamic"].boolean();
  if (place.has("quantisation")) found.quantisation = quantisation(place["quantisation"]);
  if (data.contains("tiled")) found.tiled = graph_files(place["tiled"]);
  try {
    check_size(found.size, found.align_corners);
  } catch (const Error& error) {
    throw Reason(error.what());
  }
  return found;
}

}  // namespace

void refuse_tensor(const std::string& path, const TensorSpec& spec) {
  refuse_bundle(path + " has no tensor " + spec.name + " of " + spec.dtype + " " +
                to_text(spec.shape) + ", which the manifest promises; " + kExport);
}

bool Manifest::levels() const {
  return quantisation && quantisation->attention.count("memory") > 0;
}

const std::string& Manifest::arithmetic() const {
  return quantisation ? quantisation->number : precision;
}

Size Manifest::input_size(const Size& video) const {
  return dynamic ? network_size(video, align_corners) : size;
}

std::vector<GraphSpec> Manifest::specs_at(const std::optional<Size>& frames) const {
  const bool step_one = graphs.count(contract::kStepOne) > 0;
  const bool decoder_one = graphs.count(contract::kDecoderOne) > 0;
  return graph_specs({dimensions, memory, precision == "fp16", levels(), step_one, decoder_one},
                     frames);
}

std::optional<Size> Manifest::fixed_size() const {
  return dynamic ? std::nullopt : std::optional<Size>(size);
}

std::string Manifest::identity() const {
  ordered_json widths;
  widths["features"] = dimensions.features;
  widths["embedding"] = dimensions.embedding;
  widths["key"] = dimensions.key;
  widths["value"] = dimensions.value;
  ordered_json parts = ordered_json::array();
  parts.push_back(variant);
  parts.push_back(weights_sha256);
  parts.push_back(dynamic ? ordered_json("dynamic")
                          : ordered_json(std::array<int64_t, 2>{size.height, size.width}));
  parts.push_back(align_corners);
  parts.push_back(widths);
  parts.push_back(memory_gap ? ordered_json(*memory_gap) : ordered_json(nullptr));
  parts.push_back(precision);
  if (!(memory == MemoryRule())) {
    ordered_json rule;
    rule["rule"] = memory.name();
    rule["slots"] = memory.slots;
    parts.push_back({dimensions.blocks, rule});
  }
  if (levels()) {
    ordered_json blocks = ordered_json::array();
    for (const Levels& block : quantisation->attention.at("memory")) {
      ordered_json written;
      written["scale"] = block.scale;
      written["zero_point"] = block.zero_point;
      blocks.push_back(written);
    }
    parts.push_back(blocks);
  }
  return sha256(python_json(parts));
}

Manifest Manifest::from_json(const std::string& text, const std::string& name) {
  try {
    const json data = parse_json(text);
    check_version(data, contract::kManifestVersion);
    return decode(data);
  } catch (const Reason& reason) {
    const std::string what = reason.what();
    const bool update = what.size() > 6 && what.find("; update mavos-deploy") != std::string::npos;
    std::string remedy;
    if (what.find("`engines") != std::string::npos) {
      remedy = "remove the entry and run mavos-build again";
    } else if (what.find("`quantisation") != std::string::npos) {
      remedy = "run mavos-calibrate again";
    }
    std::string advice = "; " + (remedy.empty() ? kExport : remedy);
    if (update) advice = remedy.empty() ? "" : ", or " + remedy;
    refuse_bundle(name + " is not a manifest of this release: " + what + advice);
  }
}

}  // namespace mavos
