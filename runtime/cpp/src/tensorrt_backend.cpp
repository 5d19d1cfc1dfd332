#include "tensorrt_backend.h"

#include <algorithm>
#include <mutex>

#include "device_memory.h"
#include "error.h"
#include "tensorrt_library.h"
#include "words.h"

namespace mavos {

namespace {

constexpr size_t kScratchStep = size_t{1} << 20;  // bytes to which scratch memory is rounded up

nvinfer1::DataType element_type(Type type) {
  switch (type) {
    case Type::float32: return nvinfer1::DataType::kFLOAT;
    case Type::float16: return nvinfer1::DataType::kHALF;
    case Type::int32: return nvinfer1::DataType::kINT32;
    case Type::uint8: return nvinfer1::DataType::kUINT8;
  }
  return nvinfer1::DataType::kFLOAT;
}

void* pointer(uint64_t address) {
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address));
}

nvinfer1::Dims dims_of(const Shape& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

bool has_tensor(const nvinfer1::ICudaEngine& engine, const TensorSpec& spec) {
  const int32_t count = engine.getNbIOTensors();
  bool there = false;
  for (int32_t i = 0; i < count && !there; ++i) there = spec.name == engine.getIOTensorName(i);
  if (!there) return false;
  const nvinfer1::Dims found = engine.getTensorShape(spec.name.c_str());
  return engine.getTensorDataType(spec.name.c_str()) == element_type(type_of(spec)) &&
         found.nbDims >= 0 && same_shape(spec, Shape(found.d, found.d + found.nbDims));
}

// Refuses an engine whose graph isn't the one that its manifest describes.
void check_tensors(const nvinfer1::ICudaEngine& engine, const GraphSpec& spec,
                   const std::string& path) {
  for (const auto* tensors : {&spec.inputs, &spec.outputs}) {
    for (const TensorSpec& tensor : *tensors) {
      if (!has_tensor(engine, tensor)) refuse_tensor(path, tensor);
    }
  }
}

// A graph's engine, and the one context that runs it.
struct Loaded {
  GraphSpec spec;
  Engine entry;
  std::unique_ptr<nvinfer1::ICudaEngine> engine;
  std::unique_ptr<nvinfer1::IExecutionContext> context;
  std::vector<Shape> shapes;  // of the inputs that the context is made ready for; none before
  size_t needs = 0;           // bytes of scratch memory for these shapes
  std::pair<uint64_t, size_t> scratch{};  // address and bytes that the context was given
};

class TensorRt : public Backend {
 public:
  explicit TensorRt(const Bundle& bundle)
      : path_(bundle.path.string()),
        device_(std::make_shared<CudaDevice>(name_)),
        library_(name_),
        pool_(std::make_shared<DevicePool>(device_)),
        uploads_(pool_) {
    const CudaDevice::Current current(*device_);
    runtime_ = library_.runtime(logger_);
    const Machine machine{"tensorrt", library_.version(), device_->capability(), device_->name()};
    try {
      for (const GraphSpec& spec : bundle.specs) {
        load(bundle, spec, bundle.engine(spec.name, machine));
      }
    } catch (...) {
      loaded_.clear();  // while the context is this thread's
      runtime_.reset();
      throw;
    }
  }

  ~TensorRt() override {
    uploads_.clear();
    try {
      const CudaDevice::Current current(*device_);
      device_->synchronize();
      loaded_.clear();
      runtime_.reset();
      if (scratch_.second) device_->free(scratch_.first);
    } catch (const Error&) {
      // The GPU is lost. What TensorRT holds of it is left alone: its context is gone, and what it
      // would free may be another's by now.
      for (auto& [graph, own] : loaded_) {
        own.context.release();
        own.engine.release();
      }
      runtime_.release();
    }
    pool_->close();
  }

  const std::string& name() const override { return name_; }
  bool any_shape() const override { return false; }
  bool concurrent() const override { return false; }
  bool tf32() const override {
    return std::any_of(loaded_.begin(), loaded_.end(),
                       [](const auto& own) { return own.second.entry.tf32; });
  }

  // The work is enqueued, and failures may show when a result is read.
  Tensors run(const std::string& graph, const Tensors& inputs) override {
    // What another segmenter's GPU memory holds is fetched before this one's lock is taken.
    for (const auto& [name, tensor] : inputs) {
      if (!pool_->address_of(tensor)) tensor.host();
    }
    const std::lock_guard<std::mutex> guard(lock_);
    const CudaDevice::Current current(*device_);
    Loaded& own = loaded_.at(graph);
    check_shapes(own.entry, inputs, path_);
    make_ready(own, inputs);
    lend_scratch(own);
    uploads_.forget();
    for (const TensorSpec& spec : own.spec.inputs) {
      bind(own, spec.name, uploads_.address_of(inputs.at(spec.name)));
    }
    Tensors outputs;
    const std::vector<Shape> shapes = output_shapes(own.spec, inputs);
    for (size_t i = 0; i < shapes.size(); ++i) {
      const TensorSpec& spec = own.spec.outputs[i];
      const Tensor made = pool_->tensor(type_of(spec), shapes[i]);
      bind(own, spec.name, *pool_->address_of(made));
      outputs[spec.name] = made;
    }
    logger_.said();
    if (!own.context->enqueueV3(device_->stream())) {
      own.shapes.clear();
      const std::string said = logger_.said();
      device_->synchronize();  // tells of a lost GPU
      refuse_backend(name_ + " failed in " + graph + ": " + said);
    }
    return outputs;
  }

 private:
  void load(const Bundle& bundle, const GraphSpec& spec, const Engine& entry) {
    const std::string path = (bundle.path / entry.file).string();
    const std::string plan = bundle.plan(entry);
    // A plan for later releases carries code of its own. As with any engine, the maker of the
    // bundle is trusted.
    runtime_->setEngineHostCodeAllowed(entry.version_compatible);
    logger_.said();
    Loaded own{spec, entry, nullptr, nullptr, {}};
    own.engine.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
    if (!own.engine) {
      refuse_backend("tensorrt " + library_.version() + " refuses " + path + ": " + logger_.said());
    }
    check_tensors(*own.engine, spec, path);
    loaded_.emplace(spec.name, std::move(own));
  }

  // Makes the graph's context ready for the shapes of inputs.
  void make_ready(Loaded& own, const Tensors& inputs) {
    std::vector<Shape> shapes;
    for (const TensorSpec& spec : own.spec.inputs) shapes.push_back(inputs.at(spec.name).shape);
    if (own.context && own.shapes == shapes) return;
    const std::string& graph = own.spec.name;
    own.shapes.clear();
    logger_.said();
    if (own.context) {
      device_->synchronize();  // enqueued work may still read what the context knows
    } else {
      // Graphs never run at the same time, so they share their scratch memory.
      own.context.reset(own.engine->createExecutionContext(
          nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
      if (!own.context) refuse_backend(name_ + " can't prepare " + graph + ": " + logger_.said());
    }
    for (size_t i = 0; i < shapes.size(); ++i) {
      const std::string& input = own.spec.inputs[i].name;
      if (!own.context->setInputShape(input.c_str(), dims_of(shapes[i]))) {
        refuse_backend(name_ + " refuses " + input + " of " + to_text(shapes[i]) + ": " +
                       logger_.said());
      }
    }
    own.needs = own.context->updateDeviceMemorySizeForShapes();
    // Zero says that the call failed, unless the engine never needs any.
    if (own.needs == 0 && own.engine->getDeviceMemorySizeV2() != 0) {
      refuse_backend(name_ + " can't tell the memory that " + graph + " needs: " + logger_.said());
    }
    own.scratch = {};  // to be given anew
    own.shapes = std::move(shapes);
  }

  void lend_scratch(Loaded& own) {
    if (scratch_.second == 0 || own.needs > scratch_.second) grow_scratch(own.needs);
    if (own.scratch == scratch_) return;
    own.context->setDeviceMemoryV2(pointer(scratch_.first), static_cast<int64_t>(scratch_.second));
    own.scratch = scratch_;
  }

  void grow_scratch(size_t needs) {
    const size_t steps = std::max<size_t>(1, (needs + kScratchStep - 1) / kScratchStep);
    const size_t size = steps * kScratchStep;
    device_->synchronize();
    if (scratch_.second) device_->free(scratch_.first);
    scratch_ = {};
    const auto address = pool_->allocate(size);
    if (!address) {
      refuse_backend(name_ + ": the GPU has no " + megabytes(size) +
                     " left for the engines to work in; close other programs that use it, or "
                     "build for fewer objects or smaller videos with mavos-build --max-groups, "
                     "--max-output and --memory-limit");
    }
    scratch_ = {*address, size};
  }

  void bind(Loaded& own, const std::string& tensor, uint64_t address) {
    if (!own.context->setTensorAddress(tensor.c_str(), pointer(address))) {
      refuse_backend(name_ + " has no tensor " + tensor + " in " + own.spec.name);
    }
  }

  std::string name_ = kTensorRt;
  std::string path_;
  std::shared_ptr<CudaDevice> device_;
  TensorRtLibrary library_;
  std::shared_ptr<DevicePool> pool_;
  std::mutex lock_;  // guards all below
  Uploads uploads_;
  TensorRtLogger logger_;  // outlives those who tell it
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::map<std::string, Loaded> loaded_;
  std::pair<uint64_t, size_t> scratch_{};  // address and bytes
};

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const Bundle& bundle) {
  return std::make_unique<TensorRt>(bundle);
}

}  // namespace mavos
