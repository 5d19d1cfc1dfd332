// The one exception of the library; the C interface turns it into a status and a text.
#pragma once

#include <stdexcept>
#include <string>

#include "mavos.h"

namespace mavos {

class Error : public std::runtime_error {
 public:
  Error(mavos_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  mavos_status status() const { return status_; }

 private:
  mavos_status status_;
};

[[noreturn]] inline void refuse_input(const std::string& text) {
  throw Error(MAVOS_INPUT_ERROR, text);
}
[[noreturn]] inline void refuse_bundle(const std::string& text) {
  throw Error(MAVOS_BUNDLE_ERROR, text);
}
[[noreturn]] inline void refuse_backend(const std::string& text) {
  throw Error(MAVOS_BACKEND_ERROR, text);
}

}  // namespace mavos
