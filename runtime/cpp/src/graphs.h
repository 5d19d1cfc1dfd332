// The five graphs of a bundle on a backend, one method for each; docs/graphs.md explains them.
#pragma once

#include <deque>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"
#include "bundle.h"
#include "state.h"

namespace mavos {

// A frame's keys and values as a slot of the memory, such as `short_key_0`.
Tensors in_slot(const std::string& slot, const Tensors& written);
// Adds tensors, or replaces those that are there.
void update(Tensors& tensors, const Tensors& others);

class Graphs {
 public:
  Graphs(const Bundle& bundle, std::shared_ptr<Backend> backend)
      : bundle_(bundle), backend_(std::move(backend)) {}

  std::shared_ptr<const Backend> backend() const { return backend_; }

  // Features of a frame, float32 [1, height, width, 3] at the network's size.
  Tensors encode(const Tensor& resized) const;
  // The blocks' outputs for a frame and the slots of a video's memory.
  Tensors step(const Tensors& features, const State& state) const;
  // Keys and values that a frame with known labels, `input_labels`, leaves in memory. `seen` has
  // the outputs of `step` for it in as many groups, if they are there.
  Tensors settle(const Tensors& features, const Tensors& labels, int64_t groups,
                 const Size& input_size, const Tensors* seen) const;
  // Labels of a frame, at the sizes of the video and of the network, and its logits.
  Tensors decode(const Tensors& features, const Tensors& step, const State& state) const;
  // Keys and values that a frame leaves in memory; `labels` has its `input_labels`.
  Tensors write(const Tensors& step, const Tensors& labels) const;
  // The tensors of the long-term memory that change when a frame enters it.
  // state: before the frame. groups: those that the state doesn't have yet hold the frame in every
  // slot already.
  Tensors enter(const Tensors& written, const State& state, int64_t groups) const;

 private:
  // The dynamic slot: a copy in groups that the first frame enters, MCA in the others.
  Tensors merged(const Tensors& written, const State& state, int64_t groups) const;
  // Zeros in place of a frame's keys and values.
  Tensors blank(int64_t groups, const Size& input_size) const;
  const MemoryRule& rule() const { return bundle_.manifest.memory; }
  int64_t blocks() const { return bundle_.manifest.dimensions.blocks; }
  Tensors run(const std::string& graph, std::initializer_list<const Tensors*> sources) const;
  Tensors interpolate(const Size& size, const Size& input_size) const;

  const Bundle& bundle_;
  std::shared_ptr<Backend> backend_;
  mutable std::mutex lock_;
  // The decoder's inputs for the latest sizes of video.
  mutable std::deque<std::pair<std::pair<Size, Size>, Tensors>> interpolations_;
};

}  // namespace mavos
