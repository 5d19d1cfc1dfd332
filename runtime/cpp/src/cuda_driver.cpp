#include "cuda_driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "error.h"

namespace mavos {

namespace {

// Numbers of CUDA's driver interface, by NVIDIA's documentation of it.
constexpr const char* kLibrary = "libcuda.so.1";
constexpr int kSuccess = 0;
constexpr int kOutOfMemory = 2;
constexpr int kMajor = 75;  // attributes of a device: its compute capability
constexpr int kMinor = 76;
constexpr unsigned kNonBlocking = 1;  // no stream waits for another one

constexpr size_t kLongestName = 256;           // bytes
constexpr size_t kGrain = size_t{1} << 12;     // bytes to which pinned blocks are rounded up
constexpr size_t kStaging = size_t{64} << 20;  // bytes of pinned memory that are idle, or in use

}  // namespace

struct CudaFunctions {
  int (*init)(unsigned);
  int (*device_get)(int*, int);
  int (*device_name)(char*, int, int);
  int (*device_attribute)(int*, int, int);
  int (*retain)(CUctx_st**, int);
  int (*release)(int);
  int (*push)(CUctx_st*);
  int (*pop)(CUctx_st**);
  int (*set_current)(CUctx_st*);
  int (*mem_alloc)(uint64_t*, size_t);
  int (*mem_free)(uint64_t);
  int (*mem_info)(size_t*, size_t*);
  int (*host_alloc)(void**, size_t, unsigned);
  int (*host_free)(void*);
  int (*copy_up)(uint64_t, const void*, size_t, CUstream_st*);
  int (*copy_down)(void*, uint64_t, size_t, CUstream_st*);
  int (*stream_create)(CUstream_st**, unsigned);
  int (*stream_destroy)(CUstream_st*);
  int (*stream_synchronize)(CUstream_st*);
  int (*error_name)(int, const char**);
};

namespace {

[[noreturn]] void refuse_machine(const std::string& user, const std::string& why) {
  refuse_backend(user + ": " + why +
                 "; nvidia-smi must list one (in a container: start it with --gpus all), or take "
                 "the CPU");
}

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// The driver stays loaded until the process ends: others may use it too.
CudaFunctions load(const std::string& user) {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    refuse_machine(user, std::string("CUDA's driver ") + kLibrary +
                             " can't be loaded, so there is no NVIDIA GPU");
  }
  CudaFunctions cuda{};
  const bool whole = find(library, "cuInit", cuda.init) &&
                     find(library, "cuDeviceGet", cuda.device_get) &&
                     find(library, "cuDeviceGetName", cuda.device_name) &&
                     find(library, "cuDeviceGetAttribute", cuda.device_attribute) &&
                     find(library, "cuDevicePrimaryCtxRetain", cuda.retain) &&
                     find(library, "cuDevicePrimaryCtxRelease_v2", cuda.release) &&
                     find(library, "cuCtxPushCurrent_v2", cuda.push) &&
                     find(library, "cuCtxPopCurrent_v2", cuda.pop) &&
                     find(library, "cuCtxSetCurrent", cuda.set_current) &&
                     find(library, "cuMemAlloc_v2", cuda.mem_alloc) &&
                     find(library, "cuMemFree_v2", cuda.mem_free) &&
                     find(library, "cuMemGetInfo_v2", cuda.mem_info) &&
                     find(library, "cuMemHostAlloc", cuda.host_alloc) &&
                     find(library, "cuMemFreeHost", cuda.host_free) &&
                     find(library, "cuMemcpyHtoDAsync_v2", cuda.copy_up) &&
                     find(library, "cuMemcpyDtoHAsync_v2", cuda.copy_down) &&
                     find(library, "cuStreamCreate", cuda.stream_create) &&
                     find(library, "cuStreamDestroy_v2", cuda.stream_destroy) &&
                     find(library, "cuStreamSynchronize", cuda.stream_synchronize) &&
                     find(library, "cuGetErrorName", cuda.error_name);
  if (!whole) refuse_backend(user + ": " + kLibrary + " is too old; update NVIDIA's driver");
  return cuda;
}

std::string name_of_error(const CudaFunctions& cuda, int result) {
  const char* name = nullptr;
  if (cuda.error_name(result, &name) != kSuccess || !name) return "error " + std::to_string(result);
  return name;
}

}  // namespace

CudaDevice::CudaDevice(std::string user) : user_(std::move(user)) {
  static const CudaFunctions functions = load(user_);
  cuda_ = &functions;
  char name[kLongestName] = {};
  int device = 0;
  int major = 0;
  int minor = 0;
  int result = cuda_->init(0);
  if (result == kSuccess) result = cuda_->device_get(&device, 0);
  if (result == kSuccess) result = cuda_->device_name(name, sizeof(name) - 1, device);
  if (result == kSuccess) result = cuda_->device_attribute(&major, kMajor, device);
  if (result == kSuccess) result = cuda_->device_attribute(&minor, kMinor, device);
  if (result != kSuccess) {
    const std::string why = name_of_error(*cuda_, result);
    refuse_machine(user_, "the driver shows no NVIDIA GPU (" + why + ")");
  }
  name_ = name;
  capability_ = std::to_string(major) + "." + std::to_string(minor);
  result = cuda_->retain(&context_, device);
  if (result != kSuccess) fail(result, "cuDevicePrimaryCtxRetain", true);
  try {
    const Current current(*this);
    check(cuda_->stream_create(&stream_, kNonBlocking), "cuStreamCreate");
  } catch (...) {
    cuda_->release(0);
    throw;
  }
}

CudaDevice::~CudaDevice() { close(); }

// Of a lost device nothing can be freed; what it held ends with the context.
void CudaDevice::close() noexcept {
  if (cuda_->push(context_) == kSuccess) {
    cuda_->stream_synchronize(stream_);
    for (const auto& [size, block] : in_use_) cuda_->host_free(block);
    for (const auto& [size, block] : idle_) cuda_->host_free(block);
    cuda_->stream_destroy(stream_);
    CUctx_st* popped = nullptr;
    if (cuda_->pop(&popped) != kSuccess) cuda_->set_current(nullptr);
  }
  cuda_->release(0);
}

CudaDevice::Current::Current(const CudaDevice& device) : device_(device) {
  {
    const std::lock_guard<std::mutex> guard(device.lost_lock_);
    if (!device.lost_.empty()) {
      refuse_backend(device.user_ + ": the GPU was lost (" + device.lost_ +
                     "); start the program again");
    }
  }
  const int result = device.cuda_->push(device.context_);
  if (result != kSuccess) device.fail(result, "cuCtxPushCurrent", true);
}

CudaDevice::Current::~Current() {
  CUctx_st* popped = nullptr;
  // After a fault the driver may leave a context where it is.
  if (device_.cuda_->pop(&popped) != kSuccess) device_.cuda_->set_current(nullptr);
}

void CudaDevice::check(int result, const char* call) const {
  if (result == kSuccess) return;
  size_t left = 0;
  size_t all = 0;
  const bool only_this = cuda_->mem_info(&left, &all) == kSuccess;
  fail(result, call, !only_this);
}

void CudaDevice::fail(int result, const char* call, bool lost) const {
  const std::string name = name_of_error(*cuda_, result);
  if (lost) {
    const std::lock_guard<std::mutex> guard(lost_lock_);
    lost_ = name;
  }
  refuse_backend(user_ + ": CUDA reports " + name + " in " + call);
}

std::optional<uint64_t> CudaDevice::allocate(size_t size) {
  const Current current(*this);
  uint64_t address = 0;
  const int result = cuda_->mem_alloc(&address, std::max<size_t>(size, 1));
  if (result == kOutOfMemory) return std::nullopt;
  check(result, "cuMemAlloc");
  return address;
}

void CudaDevice::free(uint64_t address) noexcept {
  if (cuda_->push(context_) != kSuccess) return;
  cuda_->mem_free(address);
  CUctx_st* popped = nullptr;
  if (cuda_->pop(&popped) != kSuccess) cuda_->set_current(nullptr);
}

void CudaDevice::upload(uint64_t to, const void* from, size_t size) {
  if (size == 0) return;
  const Current current(*this);
  const std::lock_guard<std::mutex> guard(staging_lock_);
  void* block = pinned(size);
  std::memcpy(block, from, size);
  check(cuda_->copy_up(to, block, size, stream_), "cuMemcpyHtoDAsync");
}

void CudaDevice::download(void* to, uint64_t from, size_t size) {
  if (size == 0) return;
  const Current current(*this);
  const std::lock_guard<std::mutex> guard(staging_lock_);
  const void* block = pinned(size);
  check(cuda_->copy_down(const_cast<void*>(block), from, size, stream_), "cuMemcpyDtoHAsync");
  wait();
  std::memcpy(to, block, size);
}

void CudaDevice::synchronize() {
  const Current current(*this);
  const std::lock_guard<std::mutex> guard(staging_lock_);
  wait();
}

void CudaDevice::wait() {
  check(cuda_->stream_synchronize(stream_), "cuStreamSynchronize");
  for (const auto& block : in_use_) idle_.insert(block);
  in_use_.clear();
  bytes_in_use_ = 0;
}

void* CudaDevice::pinned(size_t wanted) {
  const size_t size = (wanted + kGrain - 1) / kGrain * kGrain;
  if (bytes_in_use_ + size > kStaging) wait();
  auto found = idle_.lower_bound(size);
  if (found == idle_.end() || found->first > 2 * size) {
    size_t held = 0;
    for (const auto& [bytes, block] : idle_) held += bytes;
    if (held + size > kStaging) {
      for (const auto& [bytes, block] : idle_) cuda_->host_free(block);
      idle_.clear();
    }
    void* block = nullptr;
    check(cuda_->host_alloc(&block, size, 0), "cuMemHostAlloc");
    found = idle_.emplace(size, block);
  }
  in_use_.emplace_back(*found);
  bytes_in_use_ += found->first;
  idle_.erase(found);
  return in_use_.back().second;
}

}  // namespace mavos
