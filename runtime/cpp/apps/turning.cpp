#include "turning.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace {

const double kNearly = std::cos(std::acos(-1.0) / 180);  // of a degree

}  // namespace

std::string words_of(const Turn& turn) {
  if (turn.mirrored && turn.quarters % 2 == 0) {
    return turn.quarters ? "mirrored top to bottom" : "mirrored left to right";
  }
  constexpr std::array<const char*, 4> kTurned{
      "as it is stored", "turned by 90 degrees to the left", "turned by 180 degrees",
      "turned by 90 degrees to the right"};
  const std::string turned = kTurned[static_cast<size_t>(turn.quarters)];
  return turn.mirrored ? turned + ", then mirrored left to right" : turned;
}

cv::Mat shown(const cv::Mat& stored, const Turn& turn) {
  constexpr std::array<cv::RotateFlags, 3> kTurns{cv::ROTATE_90_COUNTERCLOCKWISE, cv::ROTATE_180,
                                                  cv::ROTATE_90_CLOCKWISE};
  cv::Mat turned;  // of its own: OpenCV writes into what it is given
  if (turn.quarters) {
    cv::rotate(stored, turned, kTurns[static_cast<size_t>(turn.quarters) - 1]);
  } else {
    turned = stored;
  }
  if (!turn.mirrored) return turned;
  cv::Mat mirrored;
  cv::flip(turned, mirrored, 1);
  return mirrored;
}

std::optional<Turn> turn_of_matrix(const int32_t* matrix) {
  double a = matrix[0];
  double b = matrix[1];
  double c = matrix[3];
  double d = matrix[4];
  const double across = std::hypot(a, b);
  const double down = std::hypot(c, d);
  if (across == 0 || down == 0) return std::nullopt;
  a /= across;
  b /= across;
  c /= down;
  d /= down;
  const double straight = std::min(std::max(std::abs(a), std::abs(b)), std::max(std::abs(c), std::abs(d)));
  const bool upright = std::abs(a) > std::abs(b);
  if (straight < kNearly || upright != (std::abs(d) > std::abs(c))) return std::nullopt;
  Turn turn;
  turn.mirrored = a * d < b * c;
  if (upright) {
    turn.quarters = (turn.mirrored ? -a : a) > 0 ? 0 : 2;
  } else {
    turn.quarters = b < 0 ? 1 : 3;
  }
  return turn;
}
