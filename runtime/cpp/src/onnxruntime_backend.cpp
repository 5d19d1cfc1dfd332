#include "onnxruntime_backend.h"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <optional>
#include <unordered_map>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "contract.h"
#include "error.h"
#include "processors.h"
#include "reach.h"
#include "words.h"

namespace mavos {

namespace {

using Options = std::unordered_map<std::string, std::string>;
using Shapes = std::map<std::string, Shape>;

constexpr const char* kCpu = "CPU";

std::string one_line(const std::string& text) {
  std::string line = text.substr(0, 300);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

ONNXTensorElementDataType element_type(Type type) {
  switch (type) {
    case Type::float32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case Type::float16: return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case Type::int32: return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case Type::uint8: return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

// The library's own name of a provider, without its suffix.
std::string find_provider(const std::string& wanted) {
  const std::string suffix = "ExecutionProvider";
  std::string known;
  for (const std::string& full : Ort::GetAvailableProviders()) {
    const std::string name = full.substr(0, full.rfind(suffix));
    if (same_word(name, wanted) || same_word(full, wanted)) return name;
    known += (known.empty() ? "" : ", ") + name;
  }
  refuse_backend("this ONNX Runtime " + std::string(OrtGetApiBase()->GetVersionString()) +
                 " has no provider '" + wanted + "'; it has " + known +
                 ". Build with the ONNXRUNTIME_ROOT of a release that has it");
}

Options read_options(const char* const* pairs) {
  Options options;
  for (; pairs && pairs[0]; pairs += 2) {
    if (!pairs[1]) refuse_input(std::string("provider option ") + pairs[0] + " has no value");
    options[pairs[0]] = pairs[1];
  }
  return options;
}

void add_provider(Ort::SessionOptions& session, const std::string& name, const Options& options) {
  if (name == "CUDA") {
    Ort::CUDAProviderOptions cuda;
    cuda.Update(options);
    session.AppendExecutionProvider_CUDA_V2(*cuda);
  } else if (name == "Tensorrt") {
    Ort::TensorRTProviderOptions tensorrt;
    tensorrt.Update(options);
    session.AppendExecutionProvider_TensorRT_V2(*tensorrt);
  } else {
    session.AppendExecutionProvider(name, options);
  }
}

// Makes the one arena that all sessions of the process take their memory from.
void share_arena(Ort::Env& env) {
  const Ort::MemoryInfo place("Cpu", OrtArenaAllocator, 0, OrtMemTypeDefault);
  // By default it doubles when it grows, and lets a tensor take a block of twice its size.
  const Ort::ArenaCfg thrifty(std::unordered_map<std::string, size_t>{
      {"arena_extend_strategy", 1}, {"max_dead_bytes_per_chunk", size_t{1} << 20}});
  try {
    env.CreateAndRegisterAllocator(place, thrifty);
  } catch (const Ort::Exception&) {
    // Another segmenter of this process, or the program itself, has made it already.
  }
}

// The same settings as in Python, where benchmarks/session_settings.py compares others.
Ort::SessionOptions session_options(const mavos_options& options, bool in_float) {
  Ort::SessionOptions session;
  session.SetIntraOpNumThreads(options.threads > 0 ? options.threads : usable_processors());
  session.AddConfigEntry("session.intra_op.allow_spinning", "0");
  session.EnableCpuMemArena();
  session.AddConfigEntry("session.use_env_allocators", "1");
  session.DisableMemPattern();
  session.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  if (in_float) session.AddConfigEntry("session.disable_quant_qdq", "1");
  return session;
}

struct Loaded {
  GraphSpec spec;
  Ort::Session session;
};

void check_tensor(const Ort::TypeInfo& info, const TensorSpec& spec, const std::string& path) {
  const auto tensor = info.GetTensorTypeAndShapeInfo();
  const bool same = tensor.GetElementType() == element_type(type_of(spec)) &&
                    same_shape(spec, tensor.GetShape());
  if (!same) refuse_tensor(path, spec);
}

// Refuses a session whose graph isn't the one that its manifest describes.
void check_session(const Ort::Session& session, const GraphSpec& spec, const std::string& path) {
  const auto check = [&](const std::vector<TensorSpec>& wanted,
                         const std::vector<std::string>& names, auto type_info) {
    for (const TensorSpec& tensor : wanted) {
      const auto at = std::find(names.begin(), names.end(), tensor.name);
      if (at == names.end()) refuse_tensor(path, tensor);
      check_tensor(type_info(static_cast<size_t>(at - names.begin())), tensor, path);
    }
  };
  check(spec.inputs, session.GetInputNames(),
        [&](size_t index) { return session.GetInputTypeInfo(index); });
  check(spec.outputs, session.GetOutputNames(),
        [&](size_t index) { return session.GetOutputTypeInfo(index); });
}

// Whether inputs fit all extents that are fixed.
bool takes(const GraphSpec& spec, const Tensors& inputs) {
  return std::all_of(spec.inputs.begin(), spec.inputs.end(), [&](const TensorSpec& tensor) {
    const Shape& shape = inputs.at(tensor.name).shape;
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      const auto* fixed = std::get_if<int64_t>(&tensor.shape[axis]);
      if (fixed && *fixed != shape[axis]) return false;
    }
    return true;
  });
}

// In how many bands of rows a decoder enlarges objects; 0 where its memory doesn't grow with them.
int64_t bands_of(const Ort::Session& decoder) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto note =
      decoder.GetModelMetadata().LookupCustomMetadataMapAllocated(contract::kBandsNote, allocator);
  const std::string text = note ? note.get() : "";
  const bool told = !text.empty() && text.size() < 5 &&
                    text.find_first_not_of("0123456789") == text.npos;  // else it says nothing
  return told ? std::stoll(text) : 1;
}

class OnnxRuntime : public Backend {
 public:
  OnnxRuntime(const Bundle& bundle, const mavos_options& options)
      : env_(ORT_LOGGING_LEVEL_FATAL, "mavos"),
        host_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)),
        name_(options.provider ? find_provider(options.provider) : kCpu) {
    const auto& quantisation = bundle.manifest.quantisation;
    share_arena(env_);
    auto settings = session_options(options, quantisation && quantisation->kind != "cpu");
    if (name_ != kCpu) {
      if (!options.allow_cpu_nodes) settings.AddConfigEntry("session.disable_cpu_ep_fallback", "1");
      add_provider(settings, name_, read_options(options.provider_options));
    } else if (!read_options(options.provider_options).empty()) {
      refuse_input("the CPU takes no provider options");
    }
    load_all(bundle, settings, options.threads == 1 ? 1 : 2);
    bands_ = bands_of(sessions_.at(contract::kDecoder).back().session);
    reach_ = Reach(bands_);
#ifdef __GLIBC__
    malloc_trim(0);  // reading the files took twice the weights
#endif
  }

  const std::string& name() const override { return name_; }
  bool any_shape() const override { return name_ == kCpu; }
  bool concurrent() const override { return name_ == kCpu; }

  Tensors run(const std::string& graph, const Tensors& inputs) override {
    auto& loaded = sessions_.at(graph);
    auto own = std::find_if(loaded.begin(), loaded.end() - 1,
                            [&](const Loaded& one) { return takes(one.spec, inputs); });
    std::vector<const char*> input_names;
    std::vector<const char*> output_names;
    std::vector<Ort::Value> values;
    Shapes shapes;
    for (const TensorSpec& spec : own->spec.inputs) {
      const Tensor& tensor = inputs.at(spec.name);
      input_names.push_back(spec.name.c_str());
      shapes[spec.name] = tensor.shape;
      // The library takes inputs as they are and does not write to them.
      values.push_back(Ort::Value::CreateTensor(
          host_, const_cast<void*>(tensor.host()), tensor.bytes(), tensor.shape.data(),
          tensor.shape.size(), element_type(tensor.type)));
    }
    for (const TensorSpec& spec : own->spec.outputs) output_names.push_back(spec.name.c_str());
    Ort::RunOptions options;
    const bool emptied = empties_arena(graph, shapes);
    if (emptied) options.AddConfigEntry("memory.enable_memory_arena_shrinkage", "cpu:0");
    try {
      auto outputs = own->session.Run(options, input_names.data(), values.data(), values.size(),
                                      output_names.data(), output_names.size());
      Tensors found = adopt(own->spec, std::move(outputs));
      if (graph == contract::kDecoder && !emptied) {
        const std::lock_guard<std::mutex> guard(lock_);
        reach_.take(inputs, found);
      }
      return found;
    } catch (const Ort::Exception& error) {
      refuse_backend("onnxruntime failed in " + graph + ": " + one_line(error.what()));
    }
  }

 private:
  // Loads the largest graph alone, because loading takes twice its size for a while, and then the
  // others in threads that each take the next one.
  void load_all(const Bundle& bundle, const Ort::SessionOptions& settings, int threads) {
    struct Job {
      std::string graph;
      std::filesystem::path path;
      GraphSpec spec;
      uintmax_t bytes;
      std::optional<Ort::Session> session;
    };
    std::vector<Job> jobs;  // in the order of the bundle
    for (const GraphSpec& spec : bundle.specs) {
      for (const auto& [path, own] : bundle.files(spec.name)) {
        jobs.push_back({spec.name, path, own, std::filesystem::file_size(path), std::nullopt});
      }
    }
    std::vector<Job*> order;
    for (Job& job : jobs) order.push_back(&job);
    std::stable_sort(order.begin(), order.end(),
                     [](const Job* one, const Job* two) { return one->bytes > two->bytes; });
    const auto load_one = [&](Job& job) { job.session.emplace(load(job.path, job.spec, settings)); };
    load_one(*order.front());
    std::atomic<size_t> next{1};
    const auto work = [&] {
      for (size_t i = next++; i < order.size(); i = next++) load_one(*order[i]);
    };
    std::vector<std::future<void>> beside;
    for (int i = 1; i < threads; ++i) beside.push_back(std::async(std::launch::async, work));
    work();
    for (auto& thread : beside) thread.get();
    for (Job& job : jobs) sessions_[job.graph].push_back({job.spec, std::move(*job.session)});
  }

  Ort::Session load(const std::filesystem::path& path, const GraphSpec& spec,
                    const Ort::SessionOptions& settings) {
    try {
      Ort::Session session(env_, path.c_str(), settings);
      check_session(session, spec, path.string());
      return session;
    } catch (const Ort::Exception& error) {
      refuse_backend("onnxruntime " + std::string(OrtGetApiBase()->GetVersionString()) +
                     " refuses " + path.string() + ": " + one_line(error.what()));
    }
  }

  static Tensors adopt(const GraphSpec& spec, std::vector<Ort::Value> outputs) {
    Tensors tensors;
    for (size_t i = 0; i < outputs.size(); ++i) {
      auto value = std::make_shared<Ort::Value>(std::move(outputs[i]));
      const Shape shape = value->GetTensorTypeAndShapeInfo().GetShape();
      const void* data = value->GetTensorRawData();
      tensors[spec.outputs[i].name] = {type_of(spec.outputs[i]), shape,
                                       std::shared_ptr<const void>(std::move(value), data)};
    }
    return tensors;
  }

  // Whether the arena is to be empty after a run of a graph. Its blocks fit the shapes of before, and
  // those of new ones would come on top; so would those of larger and larger objects.
  bool empties_arena(const std::string& graph, const Shapes& shapes) {
    const std::lock_guard<std::mutex> guard(lock_);
    const auto [known, is_new] = shapes_.try_emplace(graph, shapes);
    const bool wasteful = graph == contract::kDecoder && reach_.wasteful();
    if (!wasteful && (is_new || known->second == shapes)) return false;
    known->second = shapes;
    reach_ = Reach(bands_);
    return true;
  }

  Ort::Env env_;
  Ort::MemoryInfo host_;
  std::string name_;
  std::map<std::string, std::vector<Loaded>> sessions_;
  std::mutex lock_;
  std::map<std::string, Shapes> shapes_;  // of the inputs in each graph's latest run
  int64_t bands_ = 1;
  Reach reach_{1};
};

}  // namespace

std::unique_ptr<Backend> open_onnxruntime(const Bundle& bundle, const mavos_options& options) {
  if (!OrtGetApiBase()->GetApi(ORT_API_VERSION)) {
    refuse_backend("ONNX Runtime " + std::string(OrtGetApiBase()->GetVersionString()) +
                   " is older than the headers that this library was built with");
  }
  try {
    return std::make_unique<OnnxRuntime>(bundle, options);
  } catch (const Ort::Exception& error) {
    refuse_backend("onnxruntime failed: " + one_line(error.what()));
  }
}

}  // namespace mavos
