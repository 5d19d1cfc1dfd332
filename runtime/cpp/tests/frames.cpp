// Writes the frames of a video as mavos-track reads them, for the tests.
//
//     mavos_frames VIDEO FILE
//
// FILE gets, for each frame, a line with its number, height and width, and then its bytes: red,
// green and blue, 8 bits each. What was damaged goes to the standard error.

#include <algorithm>
#include <cstdio>
#include <deque>
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
    const auto write = [&file](const VideoFrame &frame) {
      const cv::Mat bytes = frame.rgb.clone();  // without gaps
      file << frame.number << ' ' << bytes.rows << ' ' << bytes.cols << '\n';
      file.write(reinterpret_cast<const char *>(bytes.data),
                 static_cast<std::streamsize>(bytes.total() * bytes.elemSize()));
    };
    std::deque<VideoFrame> held;  // more than there are places whose memory the reader uses again
    const auto write_rest = [&] { std::for_each(held.begin(), held.end(), write); };
    try {
      while (auto frame = reader.next()) {
        held.push_back(std::move(*frame));
        if (held.size() > 6) {
          write(held.front());
          held.pop_front();
        }
      }
    } catch (...) {
      write_rest();
      throw;
    }
    write_rest();
    const auto damage = reader.damage(std::numeric_limits<int64_t>::max());
    for (const std::string &line : damage) std::fprintf(stderr, "%s\n", line.c_str());
    return damage.empty() ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
