// TensorRT as a backend: the engines of a bundle on the first GPU.
#pragma once

#include <memory>

#include "backend.h"
#include "bundle.h"

namespace mavos {

inline constexpr const char* kTensorRt = "tensorrt-gpu";  // as in Python

// Loads the engines of a bundle; refuses where a library or the GPU is missing, or an engine
// doesn't fit them. Only in builds with MAVOS_TENSORRT.
std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle);

}  // namespace mavos
