// The tracker: chains the graphs of a bundle over the frames of a video, as runtime/segmenter.py.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bundle.h"
#include "encoded.h"
#include "graphs.h"
#include "mavos.h"
#include "state.h"

namespace mavos {

struct Frame {
  Size size;  // of the frame that it was made from
  Tensor resized;
  std::shared_ptr<Encoded> encoded;  // null where the encoder can't run beside other graphs
};

class Segmenter {
 public:
  Segmenter(const std::string& path, const mavos_options& options);

  const Bundle& bundle() const { return bundle_; }
  const std::string& identity() const { return identity_; }
  const Backend& backend() const { return *graphs_.backend(); }

  // Checks a picture, resizes it, and encodes it where that may run beside a step.
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
  // The encoder's outputs for a frame: those that it has, or new ones.
  Tensors features_of(const Frame& frame) const;
  // The state after a frame with these keys and values.
  State remember(const Tensors& written, const State& state) const;
  // Makes a frame with known labels the reference of new groups and news to older ones. `seen` has
  // the outputs of the step for it in the groups of `state`, if it ran.
  State reference(const Tensors& features, const Labels& labels, State state,
                  const Tensors* seen) const;

  Bundle bundle_;
  Graphs graphs_;
  std::string identity_;
};

}  // namespace mavos
