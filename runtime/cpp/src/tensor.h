// Tensors. They are never written to once they are made, so copies share them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mavos {

enum class Type { float32, float16, int32, uint8 };

constexpr size_t bytes_of(Type type) {
  return type == Type::uint8 ? 1 : type == Type::float16 ? 2 : 4;
}

// NumPy's name of a type.
constexpr const char* name_of(Type type) {
  switch (type) {
    case Type::float32: return "float32";
    case Type::float16: return "float16";
    case Type::int32: return "int32";
    case Type::uint8: return "uint8";
  }
  return "";
}

using Shape = std::vector<int64_t>;

inline int64_t elements(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::string to_text(const Shape& shape);

// A tensor's values in the memory of a device.
class OnDevice {
 public:
  OnDevice() = default;
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  virtual ~OnDevice() = default;

  // The values in host memory, which live as long as this object: fetched by the first call, and
  // kept. Several threads may call.
  virtual const void* host() const = 0;
};

struct Tensor {
  Type type = Type::float32;
  Shape shape;
  std::shared_ptr<const void> data = nullptr;        // in host memory
  std::shared_ptr<const OnDevice> device = nullptr;  // where the values are, instead of `data`

  size_t bytes() const { return static_cast<size_t>(elements(shape)) * bytes_of(type); }
  const void* host() const { return device ? device->host() : data.get(); }
  const uint8_t* as_bytes() const { return static_cast<const uint8_t*>(host()); }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(host());
  }
};

// A tensor that is still being filled.
template <typename T>
struct Draft {
  Draft(Type type_, Shape shape_)
      : type(type_),
        shape(std::move(shape_)),
        values(std::make_shared<std::vector<T>>(static_cast<size_t>(elements(shape)))) {}

  T* data() { return values->data(); }
  Tensor done() const {
    return Tensor{type, shape, std::shared_ptr<const void>(values, values->data())};
  }

  Type type;
  Shape shape;
  std::shared_ptr<std::vector<T>> values;
};

using Tensors = std::map<std::string, Tensor>;  // by their names in the contract

}  // namespace mavos
