// A program of somebody else: opens a folder that is no bundle, and reads why that failed.
#include <cstdio>
#include <cstring>
#include <mavos.hpp>

int main() {
  if (mavos_abi_version() != MAVOS_ABI_VERSION) return 1;
  try {
    const mavos::Segmenter segmenter("no-such-folder");
  } catch (const mavos::Failure& failure) {
    std::puts(failure.what());
    const bool says = std::strstr(failure.what(), "no-such-folder does not exist") != nullptr;
    return failure.status() == MAVOS_BUNDLE_ERROR && says ? 0 : 1;
  }
  return 1;
}
