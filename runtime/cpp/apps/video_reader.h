// Reads the frames of a video file with FFmpeg's libraries, as players show them, past damage.
#pragma once

#include <cstdint>
#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

struct VideoFrame {
  int64_t number = 0;  // in the whole video, whatever is missing
  cv::Mat rgb;
};

// The video of a file: of several the default, then the largest, never the cover of a sound file.
class VideoReader {
 public:
  // Throws std::runtime_error if it can't be read.
  explicit VideoReader(const std::string& file);
  ~VideoReader();
  VideoReader(VideoReader&&) noexcept;

  double rate() const;  // frames in a second; 0 where the file doesn't say

  // The next frame; none at the end. Damaged packets are stepped over. Throws std::runtime_error
  // where the file is cut off, or its pictures can't be converted.
  std::optional<VideoFrame> next();

  // Lines that say how the video is read, once the first frame came.
  const std::vector<std::string>& notes() const;

  // Lines that say what was damaged up to the frame of this number, once reading is over.
  std::vector<std::string> damage(int64_t last) const;

 private:
  struct Open;
  std::unique_ptr<Open> open_;
};
