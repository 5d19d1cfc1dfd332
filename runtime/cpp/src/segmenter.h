// The tracker: chains the graphs of a bundle over the frames of a video, as runtime/segmenter.py.
#pragma once

#include <string>
#include <vector>

#include "bundle.h"
#include "graphs.h"
#include "mavos.h"
#include "state.h"

namespace mavos {

struct Frame {
  Size size;  // of the frame that it was made from
  Tensor resized;
};

class Segmenter {
 public:
  Segmenter(const std::string& path, const mavos_options& options);

  const Bundle& bundle() const { return bundle_; }
  const std::string& identity() const { return identity_; }
  const Backend& backend() const { return graphs_.backend(); }

  Frame prepare(const mavos_image& image) const;
  State start(const Frame& frame, const uint8_t* labels) const;
  // Writes the frame's labels to `labels` and returns the state after it.
  // notice: takes what the memory drops for this frame, if it drops something.
  State step(const Frame& frame, const State& state, const uint8_t* annotation, uint8_t* labels,
             std::string& notice) const;
  State remove(const State& state, const std::vector<uint8_t>& ids) const;

 private:
  void check(const State& state) const;
  void check(const Frame& frame) const;
  // What a memory that keeps annotated frames drops for another one; refuses what it can't keep.
  std::string check_room(const State& state) const;
  // The state after an observed frame has been written to memory.
  State remember(const Tensors& step, const Tensors& decoded, const State& state) const;
  // Makes a frame with known labels the reference of new groups and news to older ones.
  State reference(const Tensors& features, const Labels& labels, State state) const;

  Bundle bundle_;
  Graphs graphs_;
  std::string identity_;
};

}  // namespace mavos
