#include "geometry.h"

#include <algorithm>
#include <cmath>

#include "contract.h"
#include "error.h"

namespace mavos {

namespace {

constexpr size_t kMostDigits = 5;
constexpr size_t kMostCharacters = 32;  // with leading zeros

// A positive decimal number; 0 if the text is none.
int64_t side(const std::string& text) {
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  const size_t first = text.find_first_not_of('0');
  const bool fits = first != std::string::npos && text.size() - first <= kMostDigits;
  return digits && fits && text.size() <= kMostCharacters ? std::stoll(text) : 0;
}

}  // namespace

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
  const size_t middle = std::min(text.find('x'), text.size());
  const int64_t height = side(text.substr(0, middle));
  const int64_t width = middle < text.size() ? side(text.substr(middle + 1)) : 0;
  if (height == 0 || width == 0) {
    refuse_input("size '" + text.substr(0, 40) +
                 "': expected height x width in pixels, for example 480x854, each up to 99999");
  }
  return Size{height, width};
}

}  // namespace mavos
