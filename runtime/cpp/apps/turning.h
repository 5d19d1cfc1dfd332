// How stored pictures are turned and mirrored to be shown: one of eight ways, as in mavos-run.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <optional>
#include <string>

// Quarter turns, and a mirror after them; by itself, a picture is shown as it is stored.
struct Turn {
  int quarters = 0;       // to the left, 0 to 3
  bool mirrored = false;  // left and right are exchanged

  bool operator==(const Turn& other) const {
    return quarters == other.quarters && mirrored == other.mirrored;
  }
};

// Words to be put behind "is shown".
std::string words_of(const Turn& turn);

// The stored picture as it is shown.
cv::Mat shown(const cv::Mat& stored, const Turn& turn);

// The turn that a display matrix stands for: FFmpeg's nine numbers. None where it is none of the
// eight, scaled, within a degree.
std::optional<Turn> turn_of_matrix(const int32_t* matrix);
