// How large a part of frames the decoder has enlarged, as runtime/backends/onnxruntime_cpu.py has it.
#pragma once

#include "tensor.h"

namespace mavos {

// Earlier bundles enlarge a single group of objects where its objects are, in bands of rows. Whenever
// they reach further than ever before, the arena grows by blocks of a band's size, and smaller ones
// are of no use any more.
class Reach {
 public:
  // `bands`: 1 in bundles that were made before there were bands, 0 where memory doesn't grow with
  // the objects.
  explicit Reach(int64_t bands) : bands_(bands) {}

  // Whether the arena is to be emptied.
  bool wasteful() const { return waste_ > kWaste; }

  // Takes the decoder's inputs and outputs of a frame.
  void take(const Tensors& inputs, const Tensors& outputs);

 private:
  static constexpr int64_t kWaste = 8 << 20;  // bytes that the arena may keep for nothing

  int64_t bands_;
  int64_t largest_ = 0;  // bytes of a band of the largest part
  int64_t waste_ = 0;    // bytes of bands of all parts that were the largest before
};

}  // namespace mavos
