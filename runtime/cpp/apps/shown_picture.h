// Turns a decoded picture into a frame as a player shows it, with the bytes that mavos-run sees.
#pragma once

#include <array>
#include <cstdint>
#include <opencv2/core.hpp>
#include <string>

#include "turning.h"

struct AVFrame;
struct SwsContext;

class PictureConverter {
 public:
  // name: the video in messages. aspect: width of a stored pixel by its height; refused unless
  // it is close to 1.
  PictureConverter(const std::string& name, double aspect);

  // The picture, turned and mirrored, with 8 bits of red, green and blue. Throws
  // std::runtime_error for a kind that can't be converted as in mavos-run.
  cv::Mat convert(const AVFrame& picture, const Turn& turn);

 private:
  // One step of a conversion, kept for the next picture of the same kind.
  class Step {
   public:
    // Formats, matrix and range by FFmpeg's numbers; places of colour samples in 256ths of a pixel.
    struct Kind {
      int width, height, from, to, matrix, whole, across, down, to_across;
      bool operator==(const Kind& other) const;
    };
    Step() = default;
    ~Step();
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    bool run(const Kind& kind, const uint8_t* const* from, const int* from_steps, uint8_t* const* to,
             const int* to_steps);

   private:
    Kind kind_{};
    SwsContext* scaler_ = nullptr;
  };

  void check(const AVFrame& picture) const;
  // Memory of an earlier picture that nobody holds any more, or new: the system takes long to give
  // such an amount for each frame.
  cv::Mat room(int height, int width);
  void convert_lines(const AVFrame& picture, cv::Mat& rgb, int first, int every);
  [[noreturn]] void refuse(const AVFrame& picture, const std::string& why) const;

  std::string name_;
  std::array<cv::Mat, 3> kept_;  // one is read, the one before segmented, and that before it written
  Step spread_;  // colour samples to every line
  Step to_rgb_;
};
