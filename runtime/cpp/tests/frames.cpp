// Writes the frames of a video as mavos-track reads them, for the tests.
//
//     mavos_frames VIDEO FILE
//
// FILE gets, for each frame, a line with its number, height and width, and then its bytes: red,
// green and blue, 8 bits each. What was damaged goes to the standard error.

#include <cstdio>
#include <fstream>
#include <limits>

#include "video_reader.h"

int main(int count, char **arguments) {
  if (count != 3) {
    std::fputs("mavos_frames VIDEO FILE\n", stderr);
    return 2;
  }
  try {
    VideoReader reader(arguments[1]);
    std::ofstream file(arguments[2], std::ios::binary);
    while (auto frame = reader.next()) {
      const cv::Mat bytes = frame->rgb.clone();  // without gaps
      file << frame->number << ' ' << bytes.rows << ' ' << bytes.cols << '\n';
      file.write(reinterpret_cast<const char *>(bytes.data),
                 static_cast<std::streamsize>(bytes.total() * bytes.elemSize()));
    }
    const auto damage = reader.damage(std::numeric_limits<int64_t>::max());
    for (const std::string &line : damage) std::fprintf(stderr, "%s\n", line.c_str());
    return damage.empty() ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
