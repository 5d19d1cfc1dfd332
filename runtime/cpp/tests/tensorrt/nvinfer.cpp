// TensorRT for tests without a GPU: engines are ONNX files, ONNX Runtime computes their work, and
// the device is the driver of tools/host_cuda.py, whose memory is the host's.
//
// A plan is an ONNX file. One that begins with HOSTCODE is loaded only where code of its own is
// allowed. What is undefined with TensorRT or on a GPU is refused, with a line to the logger.

#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::ILogger;

constexpr size_t kScratch = size_t{3} << 19;  // bytes for each group
constexpr size_t kLargest = 4 * kScratch;     // for all shapes of any profile
const std::string kHostCode = "HOSTCODE";

// The driver's functions for tests.
struct Driver {
  int (*enqueue)(cudaStream_t, long);
  void (*kernels)(void (*)(long));
  int (*holds)(const void*, size_t);
};

std::mutex lock;                          // guards the next one
std::vector<std::function<void()>> work;  // by number of the kernel

void run_kernel(long number) {
  std::function<void()> kernel;
  {
    const std::lock_guard<std::mutex> guard(lock);
    kernel = std::move(work.at(static_cast<size_t>(number)));
  }
  kernel();
}

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
}

const Driver& driver() {
  static const Driver found = [] {
    Driver made{};
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    find(library, "host_cuda_enqueue", made.enqueue);
    find(library, "host_cuda_kernels", made.kernels);
    find(library, "host_cuda_holds", made.holds);
    made.kernels(run_kernel);
    return made;
  }();
  return found;
}

Ort::Env& environment() {
  static Ort::Env made(ORT_LOGGING_LEVEL_FATAL, "nvinfer");
  return made;
}

struct TensorInfo {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<int64_t> shape;  // -1 where it may vary
};

size_t element_bytes(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return 1;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return 2;
    default: return 4;
  }
}

size_t bytes_of(const TensorInfo& tensor, const Dims& dims) {
  size_t bytes = element_bytes(tensor.type);
  for (int32_t axis = 0; axis < dims.nbDims; ++axis) bytes *= static_cast<size_t>(dims.d[axis]);
  return bytes;
}

class Engine : public nvinfer1::ICudaEngine {
 public:
  Engine(ILogger& logger, const char* plan, size_t size)
      : logger_(logger), session_(environment(), plan, size, options()) {
    const auto read = [this](const std::string& name, const Ort::TypeInfo& type) {
      const auto info = type.GetTensorTypeAndShapeInfo();
      names_.push_back(name);
      return TensorInfo{name, info.GetElementType(), info.GetShape()};
    };
    size_t index = 0;
    for (const std::string& name : session_.GetInputNames()) {
      inputs_.push_back(read(name, session_.GetInputTypeInfo(index++)));
    }
    index = 0;
    for (const std::string& name : session_.GetOutputNames()) {
      outputs_.push_back(read(name, session_.GetOutputTypeInfo(index++)));
    }
  }

  int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(names_.size()); }
  char const* getIOTensorName(int32_t index) const noexcept override {
    return names_[static_cast<size_t>(index)].c_str();
  }
  Dims getTensorShape(char const* name) const noexcept override {
    Dims dims{};
    const TensorInfo* tensor = find_tensor(name);
    dims.nbDims = tensor ? static_cast<int32_t>(tensor->shape.size()) : -1;
    if (tensor) std::copy(tensor->shape.begin(), tensor->shape.end(), dims.d);
    return dims;
  }
  DataType getTensorDataType(char const* name) const noexcept override {
    const TensorInfo* tensor = find_tensor(name);
    switch (tensor ? tensor->type : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return DataType::kUINT8;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return DataType::kHALF;
      case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return DataType::kINT32;
      default: return DataType::kFLOAT;
    }
  }
  int64_t getDeviceMemorySizeV2() const noexcept override { return kLargest; }
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept override;

  const TensorInfo* find_tensor(const std::string& name) const {
    for (const auto* list : {&inputs_, &outputs_}) {
      for (const TensorInfo& tensor : *list) {
        if (tensor.name == name) return &tensor;
      }
    }
    return nullptr;
  }
  const std::vector<TensorInfo>& inputs() const { return inputs_; }
  bool refuse(const std::string& why) const {
    logger_.log(ILogger::Severity::kERROR, ("stand-in: " + why).c_str());
    return false;
  }

  // What a kernel does: reads the inputs and writes the outputs where they are.
  void compute(const std::map<std::string, Dims>& shapes,
               const std::map<std::string, void*>& addresses) {
    const auto host = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<const char*> input_names;
    std::vector<const char*> output_names;
    std::vector<Ort::Value> values;
    for (const TensorInfo& tensor : inputs_) {
      const Dims& dims = shapes.at(tensor.name);
      input_names.push_back(tensor.name.c_str());
      values.push_back(Ort::Value::CreateTensor(
          host, addresses.at(tensor.name), bytes_of(tensor, dims), dims.d,
          static_cast<size_t>(dims.nbDims), tensor.type));
    }
    for (const TensorInfo& tensor : outputs_) output_names.push_back(tensor.name.c_str());
    const auto results =
        session_.Run(Ort::RunOptions(), input_names.data(), values.data(), values.size(),
                     output_names.data(), output_names.size());
    for (size_t i = 0; i < results.size(); ++i) {
      const TensorInfo& tensor = outputs_[i];
      const auto info = results[i].GetTensorTypeAndShapeInfo();
      const size_t bytes = info.GetElementCount() * element_bytes(tensor.type);
      void* to = addresses.at(tensor.name);
      if (driver().holds(to, bytes)) {
        std::memcpy(to, results[i].GetTensorRawData(), bytes);
      } else {
        refuse("the output " + tensor.name + " leaves the device's memory");
      }
    }
  }

 private:
  static Ort::SessionOptions options() {
    Ort::SessionOptions made;
    made.SetIntraOpNumThreads(1);
    return made;
  }

  ILogger& logger_;
  Ort::Session session_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<std::string> names_;
};

class Context : public nvinfer1::IExecutionContext {
 public:
  explicit Context(Engine& engine) : engine_(engine) {}

  bool setInputShape(char const* name, Dims const& dims) noexcept override {
    const TensorInfo* tensor = engine_.find_tensor(name);
    if (!tensor || dims.nbDims != static_cast<int32_t>(tensor->shape.size())) {
      return engine_.refuse(std::string("no input ") + name + " of this rank");
    }
    for (size_t axis = 0; axis < tensor->shape.size(); ++axis) {
      const int64_t fixed = tensor->shape[axis];
      if (fixed >= 0 && fixed != dims.d[axis]) return engine_.refuse("another extent is fixed");
    }
    shapes_[name] = dims;
    needs_ = 0;
    scratch_ = nullptr;
    return true;
  }
  size_t updateDeviceMemorySizeForShapes() noexcept override {
    int64_t groups = 1;
    for (const TensorInfo& tensor : engine_.inputs()) {
      const auto shape = shapes_.find(tensor.name);
      if (shape == shapes_.end()) return 0;
      groups = std::max(groups, shape->second.d[0]);
    }
    needs_ = kScratch * static_cast<size_t>(groups);
    return needs_;
  }
  void setDeviceMemoryV2(void* memory, int64_t size) noexcept override {
    scratch_ = memory;
    scratch_size_ = static_cast<size_t>(size);
  }
  bool setTensorAddress(char const* name, void* data) noexcept override {
    if (!engine_.find_tensor(name)) return false;
    addresses_[name] = data;
    return true;
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (needs_ == 0) return engine_.refuse("the shapes changed, and nobody asked for the memory");
    if (!scratch_ || scratch_size_ < needs_ || !driver().holds(scratch_, scratch_size_)) {
      return engine_.refuse("the scratch memory is too small or not the device's");
    }
    if (addresses_.size() != static_cast<size_t>(engine_.getNbIOTensors())) {
      return engine_.refuse("a tensor has no address");
    }
    for (const TensorInfo& tensor : engine_.inputs()) {
      if (!driver().holds(addresses_[tensor.name], bytes_of(tensor, shapes_[tensor.name]))) {
        return engine_.refuse("the input " + tensor.name + " isn't in the device's memory");
      }
    }
    const auto kernel = [this, shapes = shapes_, addresses = addresses_, scratch = scratch_,
                         size = scratch_size_] {
      std::memset(scratch, 0xFF, size);  // another user of it finds nothing
      engine_.compute(shapes, addresses);
    };
    long number = 0;
    {
      const std::lock_guard<std::mutex> guard(lock);
      number = static_cast<long>(work.size());
      work.emplace_back(kernel);
    }
    return driver().enqueue(stream, number) == 0 || engine_.refuse("the launch failed");
  }

 private:
  Engine& engine_;
  std::map<std::string, Dims> shapes_;
  std::map<std::string, void*> addresses_;
  size_t needs_ = 0;
  void* scratch_ = nullptr;
  size_t scratch_size_ = 0;
};

nvinfer1::IExecutionContext* Engine::createExecutionContext(
    nvinfer1::ExecutionContextAllocationStrategy strategy) noexcept {
  const bool own = strategy == nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED;
  return own ? new Context(*this) : nullptr;
}

class Runtime : public nvinfer1::IRuntime {
 public:
  explicit Runtime(ILogger& logger) : logger_(logger) {}

  void setEngineHostCodeAllowed(bool allowed) noexcept override { code_allowed_ = allowed; }
  nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, size_t size) noexcept override {
    try {
      const char* plan = static_cast<const char*>(blob);
      if (std::string(plan, std::min(size, kHostCode.size())) == kHostCode) {
        if (!code_allowed_) throw Ort::Exception("the plan has code of its own", ORT_FAIL);
        plan += kHostCode.size();
        size -= kHostCode.size();
      }
      return new Engine(logger_, plan, size);
    } catch (const Ort::Exception& error) {
      logger_.log(ILogger::Severity::kERROR, error.what());
      return nullptr;
    }
  }

 private:
  ILogger& logger_;
  bool code_allowed_ = false;
};

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED int32_t getInferLibMajorVersion() noexcept { return 10; }
EXPORTED int32_t getInferLibMinorVersion() noexcept { return 99; }
EXPORTED int32_t getInferLibPatchVersion() noexcept { return 0; }
EXPORTED void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept {
  driver();
  if (version < 100100) return nullptr;
  return static_cast<nvinfer1::IRuntime*>(new Runtime(*static_cast<ILogger*>(logger)));
}
