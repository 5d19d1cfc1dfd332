// Rules of sizes, as runtime/geometry.py has them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace mavos {

struct Size {  // pixels
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const Size& other) const {
    return height == other.height && width == other.width;
  }
  bool operator!=(const Size& other) const { return !(*this == other); }
  bool operator<(const Size& other) const {
    return std::pair(height, width) < std::pair(other.height, other.width);
  }
};

std::string to_text(const Size& size);  // such as 480x854

// The nearest size that a network takes: sides of 16k + 1, or of 16k.
Size snap_size(const Size& size, bool align_corners);
// Refuses a size that a network doesn't take.
void check_size(const Size& size, bool align_corners);
// The size at which the authors run a frame of this size.
Size network_size(const Size& size, bool align_corners);
// Reads a size such as 481x849.
Size parse_size(const std::string& text);

inline int64_t downsampled(int64_t side, int64_t stride) { return (side + stride - 1) / stride; }

}  // namespace mavos
