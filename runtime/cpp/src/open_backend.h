// The backend that a caller asks for.
#pragma once

#include <memory>

#include "backend.h"
#include "bundle.h"
#include "mavos.h"

namespace mavos {

// Refuses a provider that isn't there.
std::unique_ptr<Backend> open_backend(const Bundle& bundle, const mavos_options& options);

}  // namespace mavos
