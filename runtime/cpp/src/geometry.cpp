#include "geometry.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "contract.h"
#include "error.h"

namespace mavos {

using contract::kLongestSide;
using contract::kMaxPixels;
using contract::kStride;

std::string to_text(const Size& size) {
  return std::to_string(size.height) + "x" + std::to_string(size.width);
}

Size snap_size(const Size& size, bool align_corners) {
  const int64_t offset = align_corners ? 1 : 0;
  const auto snapped = [offset](int64_t side) {
    // nearbyint rounds halves to even, as the authors do, and these quotients are exact.
    const double steps = static_cast<double>(side - offset) / static_cast<double>(kStride);
    return static_cast<int64_t>(std::nearbyint(steps)) * kStride + offset;
  };
  const Size found{snapped(size.height), snapped(size.width)};
  if (std::min(found.height, found.width) < kStride) {
    refuse_input("size " + to_text(size) + " is too small: both sides need at least " +
                 std::to_string(kStride + offset) + " pixels");
  }
  return found;
}

void check_size(const Size& size, bool align_corners) {
  if (std::max(size.height, size.width) > kMaxPixels || size.height * size.width > kMaxPixels) {
    refuse_input("size " + to_text(size) + ": the limit is " + std::to_string(kMaxPixels) +
                 " pixels in all");
  }
  const Size near = snap_size(size, align_corners);
  if (near != size) {
    refuse_input("size " + to_text(size) + ": both sides need to be " +
                 (align_corners ? "16k + 1" : "16k") + "; the nearest size is " + to_text(near));
  }
}

Size network_size(const Size& size, bool align_corners) {
  const int64_t longest = std::max(size.height, size.width);
  const bool shrinks = longest > kLongestSide;
  const double scale =
      shrinks ? static_cast<double>(kLongestSide) / static_cast<double>(longest) : 1.0;
  const Size scaled{static_cast<int64_t>(scale * static_cast<double>(size.height)),
                    static_cast<int64_t>(scale * static_cast<double>(size.width))};
  if (std::min(scaled.height, scaled.width) < kStride / 2) {
    refuse_input("frame size " + to_text(size) + ": a side is shorter than " +
                 std::to_string(kStride / 2) + " pixels" +
                 (shrinks ? " once the longer one is scaled to " + std::to_string(kLongestSide)
                          : ""));
  }
  return snap_size(scaled, align_corners);
}

Size parse_size(const std::string& text) {
  static const std::regex pattern("0*([1-9][0-9]{0,4})x0*([1-9][0-9]{0,4})");
  std::smatch match;
  if (text.size() > 64 || !std::regex_match(text, match, pattern)) {
    refuse_input("size '" + text.substr(0, 40) +
                 "': expected height x width in pixels, for example 480x854, each up to 99999");
  }
  return Size{std::stoll(match[1]), std::stoll(match[2])};
}

}  // namespace mavos
