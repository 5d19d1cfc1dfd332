// Numbers the pictures of a video, also where damage has taken some of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <queue>
#include <string>
#include <vector>

// Frame numbers as messages write them: 00003, 00007 to 00009.
std::string named(const std::vector<int64_t>& numbers);

// Finds each picture's number by its place among the times of all packets, as mavos-run does.
//
// Packets come in the order in which they are decoded, pictures in the order in which they are
// shown. Of an undamaged video pictures are simply counted.
class FrameNumbers {
 public:
  // silent: each packet becomes a picture, so that one is missing even if no error says so.
  // step: time between pictures by the rate that the container states.
  FrameNumbers(bool silent, std::optional<double> step) : silent_(silent), stated_step_(step) {}

  bool begun() const { return begun_; }        // a key frame came
  int64_t reached() const { return next_; }    // number of the next picture
  const std::vector<int64_t>& lost() const { return lost_; }
  // Numbers of the frames before which a hole took an unknown number of others.
  const std::vector<int64_t>& unsure() const { return unsure_; }

  // Whether pictures may be missing before this time, or still come after it.
  bool misses(int64_t time) const;
  // Notes a packet that goes to the decoder. What is before the first key frame gets no number.
  void packet(std::optional<int64_t> time, bool key);
  // Notes that the decoder could make nothing of a packet.
  void error();
  // Notes that the container lost packets. At a constant rate the times of the pictures around
  // the hole tell how many.
  void hole();
  // The number of the next picture; none for one that is shown before those that came.
  std::optional<int64_t> picture(std::optional<int64_t> time, bool fields);
  // Notes that no picture will follow.
  void end();

 private:
  void place(std::optional<int64_t> time, bool fields);
  int64_t gone(int64_t time);
  void lose(int64_t count);

  bool silent_;
  bool begun_ = false;
  bool orderly_ = true;  // pictures come in the order of their packets' times
  bool damaged_ = false;
  bool holed_ = false;
  bool doubted_ = false;  // the latest hole may have taken pictures that were not counted
  std::optional<double> stated_step_;
  std::vector<int64_t> steps_;  // between the first pictures
  int64_t next_ = 0;
  int64_t errors_ = 0;  // since the last picture
  std::optional<int64_t> first_;
  std::optional<int64_t> last_;
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<int64_t>> waiting_;
  std::vector<int64_t> lost_;
  std::vector<int64_t> unsure_;
};
