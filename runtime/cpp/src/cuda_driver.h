// The first GPU by CUDA's driver, which is found when it is needed, so that no toolkit is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

struct CUstream_st;
struct CUctx_st;

namespace mavos {

struct CudaFunctions;

// The first GPU that CUDA shows, its context, which all of the process share, and one stream.
// Copies and other work go to that stream, in the order of the calls. Several threads may call.
class CudaDevice {
 public:
  // user: name of the backend, for messages. Refuses where there is no driver or no GPU.
  explicit CudaDevice(std::string user);
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;
  ~CudaDevice();

  // The context as that of this thread, as long as the object lives.
  class Current {
   public:
    explicit Current(const CudaDevice& device);
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;
    ~Current();

   private:
    const CudaDevice& device_;
  };

  const std::string& user() const { return user_; }
  const std::string& name() const { return name_; }              // of the GPU
  const std::string& capability() const { return capability_; }  // compute capability
  CUstream_st* stream() const { return stream_; }

  // Device memory, aligned to 256 bytes; nothing where there isn't enough.
  std::optional<uint64_t> allocate(size_t size);
  // Gives memory back, which no work may use any more. Failures show in later calls.
  void free(uint64_t address) noexcept;
  // Copies to the device; the host's memory may change right after the call.
  void upload(uint64_t to, const void* from, size_t size);
  // Waits for all work so far, and copies to the host.
  void download(void* to, uint64_t from, size_t size);
  // Waits for all work so far.
  void synchronize();

 private:
  // Refuses to go on where a call failed. The context is this thread's.
  void check(int result, const char* call) const;
  // lost: whether every later call will fail.
  [[noreturn]] void fail(int result, const char* call, bool lost) const;
  void close() noexcept;
  // Memory of the host that the device reads and writes by itself, until the next `wait`.
  void* pinned(size_t size);
  void wait();

  std::string user_;
  std::string name_;
  std::string capability_;
  const CudaFunctions* cuda_;
  CUctx_st* context_ = nullptr;
  CUstream_st* stream_ = nullptr;
  mutable std::mutex lost_lock_;
  mutable std::string lost_;  // CUDA's name of an error after which every call fails
  std::mutex staging_lock_;
  std::multimap<size_t, void*> idle_;             // pinned blocks by their bytes
  std::vector<std::pair<size_t, void*>> in_use_;  // by copies, until the stream has been waited for
  size_t bytes_in_use_ = 0;
};

}  // namespace mavos
