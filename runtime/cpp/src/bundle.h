// The bundle: a folder with a manifest, the graphs, and hashes that tie them together.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "manifest.h"

namespace mavos {

struct Bundle {
  std::filesystem::path path;
  Manifest manifest;
  std::vector<GraphSpec> specs;  // the contract of its graphs

  // Opens a bundle and checks it whole: contract, hashes, no other files beside the graphs.
  static Bundle open(const std::string& path);

  bool has(const std::string& graph) const { return manifest.graphs.count(graph) > 0; }
  const GraphSpec& spec(const std::string& graph) const;
  // The engine of a graph that fits a machine best; refuses where none fits.
  const Engine& engine(const std::string& graph, const Machine& machine) const;
  // The content of an engine's file, checked to be what was built.
  std::string plan(const Engine& engine) const;
  // Files that run a graph, each with its contract; the last one takes all shapes.
  std::vector<std::pair<std::filesystem::path, GraphSpec>> files(const std::string& graph) const;
};

}  // namespace mavos
