#include "bundle.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "contract.h"
#include "error.h"
#include "sha256.h"

namespace mavos {

namespace fs = std::filesystem;

namespace {

constexpr const char* kStep = "elstt_step";
constexpr uintmax_t kLargestManifest = 64U << 20U;  // bytes

std::string read_manifest(const fs::path& folder, const std::string& path) {
  std::error_code code;
  if (!fs::is_directory(folder, code)) {
    const char* what = fs::exists(folder, code) ? "is a file" : "does not exist";
    refuse_bundle(path + " " + what + "; give a bundle's folder, as mavos-export writes it");
  }
  const fs::path file = folder / contract::kManifest;
  if (!fs::exists(file, code)) {
    refuse_bundle(path + " is not a bundle: it holds no " + contract::kManifest);
  }
  const auto fail = [&file](const std::string& reason) {
    refuse_bundle(file.string() + " is not a manifest of this release: it can't be read (" +
                  reason + "); " + kExport);
  };
  if (!fs::is_regular_file(file, code)) fail("it is no regular file");
  if (fs::file_size(file, code) > kLargestManifest) fail("it is larger than 64 MiB");
  std::ifstream stream(file, std::ios::binary);
  if (!stream) fail("it can't be opened");
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

bool lies_within(const fs::path& path, const fs::path& folder) {
  const fs::path own = fs::weakly_canonical(path);
  const fs::path top = fs::canonical(folder);
  return std::mismatch(top.begin(), top.end(), own.begin(), own.end()).first == top.end();
}

// Reads a file of the manifest, unless it lies outside of the bundle, not even through a link.
std::string read_inside(const Bundle& bundle, const std::string& relative,
                        const std::string& remedy, std::string (*read)(const fs::path&)) {
  const fs::path parts(relative);
  const bool plain = !relative.empty() && parts.is_relative() &&
                     std::find(parts.begin(), parts.end(), "..") == parts.end();
  const std::string name = bundle.path.string() + ": ";
  try {
    if (relative.find('\0') != std::string::npos) {
      throw fs::filesystem_error("its name holds a zero", std::make_error_code(
                                                              std::errc::invalid_argument));
    }
    const fs::path path = bundle.path / parts;
    if (!plain || !lies_within(path, bundle.path)) {
      refuse_bundle(name + "`" + relative + "` lies outside of the bundle; refused");
    }
    if (!fs::is_regular_file(path)) {
      refuse_bundle(name + relative + " is missing; " + remedy);
    }
    return read(path);
  } catch (const fs::filesystem_error& error) {
    refuse_bundle(name + "'" + relative.substr(0, relative.find('\0')) + "' can't be read (" +
                  error.code().message() + ")");
  }
}

void compare(const Bundle& bundle, const std::string& relative, const std::string& wanted,
             const std::string& found, const std::string& remedy) {
  if (found != wanted) {
    refuse_bundle(bundle.path.string() + ": " + relative +
                  " is not the file that was made (its SHA-256 differs); " + remedy);
  }
}

void check_file(const Bundle& bundle, const GraphFile& graph) {
  const std::string found = read_inside(bundle, graph.file, kExport, file_sha256);
  compare(bundle, graph.file, graph.sha256, found, kExport);
}

std::string content(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string bytes(fs::file_size(path), '\0');
  stream.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!stream) {
    throw fs::filesystem_error("it can't be read", path, std::make_error_code(std::errc::io_error));
  }
  return bytes;
}

void check_tensors(const Bundle& bundle, const GraphFile& graph, const std::string& name,
                   const GraphSpec& spec) {
  const auto compare = [&](const std::vector<TensorSpec>& given,
                           const std::vector<TensorSpec>& expected) {
    if (given == expected) return;
    std::string different = "their number";
    for (size_t i = 0; i < std::min(given.size(), expected.size()); ++i) {
      if (!(given[i] == expected[i])) {
        different = expected[i].name;
        break;
      }
    }
    refuse_bundle(bundle.path.string() + ": graph `" + name +
                  "` departs from the contract at " + different + "; " + kExport +
                  " with this release");
  };
  compare(graph.inputs, spec.inputs);
  compare(graph.outputs, spec.outputs);
}

void check_contract(const Bundle& bundle) {
  const Manifest& manifest = bundle.manifest;
  const std::string name = bundle.path.string();
  for (const GraphSpec& spec : bundle.specs) {
    const auto graph = manifest.graphs.find(spec.name);
    if (graph == manifest.graphs.end()) {
      refuse_bundle(name + ": the manifest has no graph `" + spec.name + "`");
    }
    check_tensors(bundle, graph->second, spec.name, spec);
  }
  if (!manifest.tiled.empty() && !manifest.dynamic) {
    refuse_bundle(name + ": `tiled` is for bundles of any size; " + kExport);
  }
  for (const auto& [text, graph] : manifest.tiled) {
    Size size;
    try {
      size = parse_size(text);
      check_size(size, manifest.align_corners);
    } catch (const Error& error) {
      refuse_bundle(name + ": `tiled`: " + error.what() + "; " + kExport);
    }
    for (const GraphSpec& spec : manifest.specs_at(size)) {
      if (spec.name == kStep) check_tensors(bundle, graph, spec.name + " at " + text, spec);
    }
  }
}

// Refuses scales of attention that don't fit the memory's channels.
void check_levels(const Bundle& bundle) {
  if (!bundle.manifest.quantisation) return;
  const int64_t count = bundle.manifest.dimensions.blocks;
  const auto channels = static_cast<size_t>(2 * bundle.manifest.dimensions.value);
  for (const auto& [part, blocks] : bundle.manifest.quantisation->attention) {
    const bool fits = blocks.size() == static_cast<size_t>(count) &&
                      std::all_of(blocks.begin(), blocks.end(), [channels](const Levels& levels) {
                        return levels.scale.size() == channels;
                      });
    if (!fits) {
      refuse_bundle(bundle.path.string() + ": `quantisation` has other scales for " + part +
                    " attention than the " + std::to_string(count) + " blocks of " +
                    std::to_string(channels) + " channels need; run mavos-calibrate again");
    }
  }
}

// Refuses files beside the graphs: a graph could read its weights from there, unhashed.
void check_nothing_else(const Bundle& bundle) {
  std::set<fs::path> known;
  for (const auto* files : {&bundle.manifest.graphs, &bundle.manifest.tiled}) {
    for (const auto& [name, graph] : *files) known.insert(fs::canonical(bundle.path / graph.file));
  }
  std::set<fs::path> folders;
  for (const fs::path& file : known) folders.insert(file.parent_path());
  for (const fs::path& folder : folders) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (known.count(fs::weakly_canonical(entry.path())) == 0) {
        refuse_bundle(bundle.path.string() + ": " + entry.path().filename().string() +
                      " stands beside the graphs, but not in the manifest; remove it, or " +
                      kExport);
      }
    }
  }
}

}  // namespace

Bundle Bundle::open(const std::string& path) {
  const fs::path folder(path);
  const std::string text = read_manifest(folder, path);
  Bundle bundle;
  bundle.path = folder;
  bundle.manifest = Manifest::from_json(text, (folder / contract::kManifest).string());
  bundle.specs = bundle.manifest.specs_at(bundle.manifest.fixed_size());
  check_levels(bundle);
  check_contract(bundle);
  for (const auto* files : {&bundle.manifest.graphs, &bundle.manifest.tiled}) {
    for (const auto& [name, graph] : *files) check_file(bundle, graph);
  }
  try {
    check_nothing_else(bundle);
  } catch (const fs::filesystem_error& error) {
    refuse_bundle(path + ": the folder of the graphs can't be read (" + error.code().message() +
                  ")");
  }
  return bundle;
}

const GraphSpec& Bundle::spec(const std::string& graph) const {
  const auto found = std::find_if(specs.begin(), specs.end(),
                                  [&](const GraphSpec& spec) { return spec.name == graph; });
  if (found == specs.end()) throw Error(MAVOS_INTERNAL_ERROR, "no graph is called " + graph);
  return *found;
}

const Engine& Bundle::engine(const std::string& graph, const Machine& machine) const {
  return choose(manifest.engines, {path.string(), graph, manifest.graphs.at(graph).sha256}, machine);
}

std::string Bundle::plan(const Engine& engine) const {
  const std::string remedy = "run " + build_command(path.string(), engine.library) +
                             ", with the options that it was built with";
  std::string bytes = read_inside(*this, engine.file, remedy, content);
  compare(*this, engine.file, engine.sha256, sha256(bytes), remedy);
  return bytes;
}

std::vector<std::pair<fs::path, GraphSpec>> Bundle::files(const std::string& graph) const {
  std::vector<std::pair<fs::path, GraphSpec>> found;
  if (graph == kStep) {
    for (const auto& [text, tiled] : manifest.tiled) {
      for (const GraphSpec& at_size : manifest.specs_at(parse_size(text))) {
        if (at_size.name == graph) found.emplace_back(path / tiled.file, at_size);
      }
    }
  }
  found.emplace_back(path / manifest.graphs.at(graph).file, spec(graph));
  return found;
}

}  // namespace mavos
