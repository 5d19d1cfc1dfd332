#include "tensorrt_library.h"

#include <dlfcn.h>

#include <algorithm>

#include "error.h"

namespace mavos {

namespace {

constexpr size_t kLongestReason = 600;  // characters
// The release that the headers describe; a library serves those of its own major release.
constexpr int32_t kHeaders = static_cast<int32_t>(NV_TENSORRT_VERSION);

using Number = int32_t (*)() noexcept;

Number number(void* library, const char* name) {
  return reinterpret_cast<Number>(dlsym(library, name));
}

}  // namespace

void TensorRtLogger::log(Severity severity, const char* message) noexcept {
  if (severity != Severity::kINTERNAL_ERROR && severity != Severity::kERROR) return;
  try {
    std::string line(message);
    std::replace(line.begin(), line.end(), '\n', ' ');
    const std::lock_guard<std::mutex> guard(lock_);
    if (std::find(errors_.begin(), errors_.end(), line) == errors_.end()) {
      errors_.push_back(std::move(line));
    }
  } catch (...) {
    // Out of memory: the failure itself is still told.
  }
}

std::string TensorRtLogger::said() {
  const std::lock_guard<std::mutex> guard(lock_);
  std::string text;
  for (const std::string& error : errors_) text += (text.empty() ? "" : "; ") + error;
  errors_.clear();
  return text.empty() ? "it gave no reason" : text.substr(0, kLongestReason);
}

// The library stays loaded until the process ends, since unloading it is of no use.
TensorRtLibrary::TensorRtLibrary(const std::string& user) {
  const std::string name = "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    refuse_backend(user + ": TensorRT can't be loaded (" + (why ? why : name.c_str()) +
                   "); install it, or name its folder in LD_LIBRARY_PATH");
  }
  const Number major = number(library, "getInferLibMajorVersion");
  const Number minor = number(library, "getInferLibMinorVersion");
  const Number patch = number(library, "getInferLibPatchVersion");
  const Number build = number(library, "getInferLibBuildVersion");
  create_runtime_ = reinterpret_cast<decltype(create_runtime_)>(
      dlsym(library, "createInferRuntime_INTERNAL"));
  const bool whole = major && minor && patch && create_runtime_;
  if (whole) {
    version_ = std::to_string(major()) + "." + std::to_string(minor()) + "." +
               std::to_string(patch()) + (build ? "." + std::to_string(build()) : "");
  }
  if (!whole || major() < 10 || (major() == 10 && minor() < 1)) {
    refuse_backend("tensorrt " + version_ +
                   " is too old to run engines; update it to 10.1 or later");
  }
}

std::unique_ptr<nvinfer1::IRuntime> TensorRtLibrary::runtime(TensorRtLogger& logger) const {
  std::unique_ptr<nvinfer1::IRuntime> made(
      static_cast<nvinfer1::IRuntime*>(create_runtime_(&logger, kHeaders)));
  if (!made) refuse_backend("tensorrt " + version_ + " can't be used: " + logger.said());
  return made;
}

}  // namespace mavos
