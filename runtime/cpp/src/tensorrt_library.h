// NVIDIA's TensorRT, which is found when it is needed, and what it says of failures.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace mavos {

// Keeps the explanations of failures, and prints nothing. Several threads may call.
class TensorRtLogger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override;
  // The explanations since the last call, on one line.
  std::string said();

 private:
  std::mutex lock_;
  std::vector<std::string> errors_;
};

class TensorRtLibrary {
 public:
  // user: name of the backend, for messages. Refuses where the library is missing or too old.
  explicit TensorRtLibrary(const std::string& user);

  const std::string& version() const { return version_; }  // such as 10.3.0 or 10.3.0.26
  std::unique_ptr<nvinfer1::IRuntime> runtime(TensorRtLogger& logger) const;

 private:
  std::string version_;
  void* (*create_runtime_)(void*, int32_t) noexcept = nullptr;
};

}  // namespace mavos
