// Device memory: tensors whose blocks are used again, and copies of the host's tensors.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cuda_driver.h"
#include "tensor.h"

namespace mavos {

// Blocks of device memory. All work goes to one stream, so a block may be given out again as soon
// as no tensor holds it: work enqueued before still sees the old values, and later work the new
// ones. Tensors may outlive the backend, and hold the pool. Several threads may call.
class DevicePool : public std::enable_shared_from_this<DevicePool> {
 public:
  explicit DevicePool(std::shared_ptr<CudaDevice> device) : device_(std::move(device)) {}
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;
  ~DevicePool() { close(); }

  CudaDevice& device() const { return *device_; }
  // A tensor that isn't filled yet; refuses where the device has no memory left.
  Tensor tensor(Type type, const Shape& shape);
  // Memory that is no part of the pool, if need be after unused blocks are given back; nothing
  // where there isn't enough.
  std::optional<uint64_t> allocate(size_t size);
  // The address of a tensor of this pool; nothing for any other one.
  std::optional<uint64_t> address_of(const Tensor& tensor) const;
  // Gives back unused blocks now, and the others as soon as no tensor holds them.
  void close() noexcept;

 private:
  class Block;

  void give(size_t size, uint64_t address) noexcept;
  void trim();

  std::shared_ptr<CudaDevice> device_;
  std::mutex lock_;
  std::map<size_t, std::vector<uint64_t>> idle_;  // addresses by size in bytes, latest last
  size_t size_ = 0;                               // bytes taken from the device
  bool closed_ = false;
};

// Copies of the host's tensors on the device, each as long as its original lives. For one thread.
class Uploads {
 public:
  explicit Uploads(std::shared_ptr<DevicePool> pool) : pool_(std::move(pool)) {}

  // The address of a tensor's values on the device: where it lies, or where its copy does, which is
  // made if there is none. It stays valid until the next `forget`.
  uint64_t address_of(const Tensor& tensor);
  // Drops copies whose originals are gone.
  void forget();
  void clear() { copies_.clear(); }

 private:
  struct Copy {
    std::weak_ptr<const void> original;
    Tensor tensor;
  };

  std::shared_ptr<DevicePool> pool_;
  std::map<const void*, Copy> copies_;  // by the address of the original
};

}  // namespace mavos
