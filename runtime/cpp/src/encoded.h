// What the encoder made of a frame.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "backend.h"
#include "tensor.h"

namespace mavos {

// Features until the first step takes them, after which nothing holds them but that step. Several
// threads may ask for them.
class Encoded {
 public:
  Encoded(Tensors features, const std::shared_ptr<const Backend>& maker)
      : features_(std::move(features)), maker_(maker) {}

  // The features for the backend that made them; none for another one, or once they are taken.
  std::optional<Tensors> take(const std::shared_ptr<const Backend>& backend) {
    if (maker_.owner_before(backend) || backend.owner_before(maker_)) return std::nullopt;
    const std::lock_guard<std::mutex> guard(lock_);
    return std::exchange(features_, std::nullopt);
  }

 private:
  std::mutex lock_;
  std::optional<Tensors> features_;
  std::weak_ptr<const Backend> maker_;  // a later backend at its address has another owner
};

}  // namespace mavos
