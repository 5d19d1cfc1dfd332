#include "device_memory.h"

#include <algorithm>

#include "error.h"
#include "words.h"

namespace mavos {

// The values of a tensor of the pool.
class DevicePool::Block : public OnDevice {
 public:
  Block(std::shared_ptr<DevicePool> pool, size_t bytes, uint64_t address)
      : pool_(std::move(pool)), bytes_(bytes), address_(address) {}
  ~Block() override { pool_->give(bytes_, address_); }

  const void* host() const override {
    const std::lock_guard<std::mutex> guard(lock_);
    if (!host_) {
      std::unique_ptr<uint8_t[]> values(new uint8_t[bytes_]);
      pool_->device().download(values.get(), address_, bytes_);
      host_ = std::move(values);
    }
    return host_.get();
  }
  const DevicePool* pool() const { return pool_.get(); }
  uint64_t address() const { return address_; }

 private:
  std::shared_ptr<DevicePool> pool_;
  size_t bytes_;
  uint64_t address_;
  mutable std::mutex lock_;
  mutable std::unique_ptr<uint8_t[]> host_;
};

Tensor DevicePool::tensor(Type type, const Shape& shape) {
  Tensor made{type, shape};
  const size_t bytes = made.bytes();
  std::optional<uint64_t> address;
  {
    const std::lock_guard<std::mutex> guard(lock_);
    auto& blocks = idle_[bytes];
    blocks.reserve(blocks.size() + 1);
    if (!blocks.empty()) {
      address = blocks.back();
      blocks.pop_back();
    }
  }
  if (!address) {
    address = allocate(bytes);
    const std::lock_guard<std::mutex> guard(lock_);
    if (!address) {
      refuse_backend(device_->user() + ": the GPU has no " + megabytes(bytes) +
                     " left; the memories of its videos hold " + megabytes(size_) +
                     ". Follow fewer objects or videos, or close other programs that use the GPU");
    }
    size_ += bytes;
  }
  try {
    made.device = std::make_shared<const Block>(shared_from_this(), bytes, *address);
  } catch (...) {
    give(bytes, *address);
    throw;
  }
  return made;
}

std::optional<uint64_t> DevicePool::allocate(size_t size) {
  auto address = device_->allocate(size);
  if (!address) {
    trim();
    address = device_->allocate(size);
  }
  return address;
}

std::optional<uint64_t> DevicePool::address_of(const Tensor& tensor) const {
  const auto* block = dynamic_cast<const Block*>(tensor.device.get());
  if (!block || block->pool() != this) return std::nullopt;
  return block->address();
}

void DevicePool::give(size_t size, uint64_t address) noexcept {
  const std::lock_guard<std::mutex> guard(lock_);
  if (!closed_) {
    try {
      idle_[size].push_back(address);
      return;
    } catch (const std::bad_alloc&) {
      // No room to remember it.
    }
  }
  device_->free(address);
  size_ -= size;
}

void DevicePool::trim() {
  device_->synchronize();
  const std::lock_guard<std::mutex> guard(lock_);
  for (auto& [size, blocks] : idle_) {
    for (const uint64_t address : blocks) device_->free(address);
    size_ -= size * blocks.size();
  }
  idle_.clear();
}

void DevicePool::close() noexcept {
  const std::lock_guard<std::mutex> guard(lock_);
  closed_ = true;
  for (const auto& [size, blocks] : idle_) {
    for (const uint64_t address : blocks) device_->free(address);
  }
  idle_.clear();
}

uint64_t Uploads::address_of(const Tensor& tensor) {
  if (const auto own = pool_->address_of(tensor)) return *own;
  const std::shared_ptr<const void> original =
      tensor.device ? std::shared_ptr<const void>(tensor.device) : tensor.data;
  const auto found = copies_.find(original.get());
  if (found != copies_.end() && found->second.original.lock() == original) {
    return *pool_->address_of(found->second.tensor);
  }
  const Tensor copy = pool_->tensor(tensor.type, tensor.shape);
  const uint64_t address = *pool_->address_of(copy);
  pool_->device().upload(address, tensor.host(), tensor.bytes());
  copies_[original.get()] = {original, copy};
  return address;
}

void Uploads::forget() {
  for (auto at = copies_.begin(); at != copies_.end();) {
    at = at->second.original.expired() ? copies_.erase(at) : std::next(at);
  }
}

}  // namespace mavos
