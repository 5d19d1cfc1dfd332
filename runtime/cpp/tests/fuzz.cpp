// A libFuzzer target: whatever bytes a manifest or a state file holds, it is read or refused.
//
//     MAVOS_MANIFEST=bundle/manifest.json mavos_fuzz -runs=20000 SEEDS
//
// The first byte of an input says what the rest is: an even one a manifest, an odd one a state of
// the bundle whose manifest the variable names.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "bundle.h"
#include "error.h"
#include "state.h"

namespace {

const mavos::Bundle& bundle() {
  static const mavos::Bundle opened = [] {
    const char* path = std::getenv("MAVOS_MANIFEST");
    std::ifstream file(path ? path : "manifest.json");
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    mavos::Bundle made;
    made.manifest = mavos::Manifest::from_json(text, "manifest");
    return made;
  }();
  return opened;
}

void load(const uint8_t* data, size_t size) {
  const int file = memfd_create("state", 0);
  if (file < 0 || write(file, data, size) != static_cast<ssize_t>(size)) std::abort();
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  try {
    const mavos::State state = mavos::load_state(path, bundle());
    mavos::without_idle_groups(state);  // works on what was taken
  } catch (const mavos::Error&) {
  }
  close(file);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  if (data[0] % 2 == 1) {
    load(data + 1, size - 1);
    return 0;
  }
  try {
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    mavos::Manifest::from_json(text, "manifest").identity();
  } catch (const mavos::Error&) {
  }
  return 0;
}
