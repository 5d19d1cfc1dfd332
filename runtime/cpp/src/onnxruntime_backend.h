// ONNX Runtime as a backend, with any of its execution providers.
#pragma once

#include <memory>

#include "backend.h"
#include "bundle.h"
#include "mavos.h"

namespace mavos {

// Loads the graphs of a bundle; refuses a provider that the library lacks.
std::unique_ptr<Backend> open_onnxruntime(const Bundle& bundle, const mavos_options& options);

}  // namespace mavos
