#include "reach.h"

#include <algorithm>

namespace mavos {

namespace {

constexpr int64_t kInABand = 3 * 4 + 3;  // bytes of a pixel while a band of rows is labelled

}  // namespace

void Reach::take(const Tensors& inputs, const Tensors& outputs) {
  const Tensor& small = outputs.at("input_labels");
  if (bands_ == 0 || small.shape[0] > 1) return;  // every frame takes the same memory
  const int64_t height = small.shape[1];
  const int64_t width = small.shape[2];
  const uint8_t* label = small.as<uint8_t>();
  int64_t top = height;
  int64_t bottom = 0;
  int64_t left = width;
  int64_t right = 0;
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      if (*label++ == 0) continue;
      top = std::min(top, row);
      bottom = row + 1;
      left = std::min(left, column);
      right = std::max(right, column + 1);
    }
  }
  if (bottom == 0) return;
  const double share = static_cast<double>((bottom - top) * (right - left)) /
                       static_cast<double>(height * width);
  // Without bands all channels' logits in float32 and the label in int64; in a band, which takes one
  // channel after another, three maps in float32 and three of bytes.
  const int64_t each = bands_ == 1 ? 4 * inputs.at("object_mask").shape[1] + 8 : kInABand;
  const int64_t all = elements(outputs.at("labels").shape) * each;
  const auto size = static_cast<int64_t>(share * static_cast<double>(all)) / bands_;
  if (size > largest_) {
    waste_ += largest_;
    largest_ = size;
  }
}

}  // namespace mavos
