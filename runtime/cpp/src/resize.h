// Resizing of frames, labels and logits, as runtime/resize.py has it.
#pragma once

#include <cstdint>
#include <vector>

#include "geometry.h"
#include "mavos.h"
#include "tensor.h"

namespace mavos {

// The source position of every target position, as torch's "nearest" picks it, in float32.
std::vector<int32_t> nearest_index(int64_t source, int64_t target);

// Labels at another size, the nearest ones.
std::vector<uint8_t> resize_labels(const uint8_t* labels, const Size& size, const Size& target);

// A matrix [target, source] that resizes one axis as torch's bilinear interpolation does.
Tensor bilinear_matrix(int64_t source, int64_t target, bool align_corners);

// The decoder's inputs that take logits to label maps of a size, and those back.
Tensors interpolation(const Size& size, const Size& input_size, bool align_corners);

// A frame at the network's size, float32 [1, height, width, 3] in RGB: cubic with half-pixel
// centres and coefficient -0.75, border replicated, no antialiasing, not rounded, not clamped.
// Positions and weights are computed in float64 and sums in float32, on every processor alike;
// OpenCV with Intel's library rounds differently on each kind of processor, by less than 2e-4.
Tensor resize_frame(const mavos_image& image, const Size& target);

}  // namespace mavos
