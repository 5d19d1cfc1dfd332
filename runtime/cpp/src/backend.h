// The small interface to an inference library.
#pragma once

#include <string>

#include "tensor.h"

namespace mavos {

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  // Runs a graph of the contract with all its inputs; several threads may do so at once.
  virtual Tensors run(const std::string& graph, const Tensors& inputs) = 0;
  // Name of what runs the graphs.
  virtual const std::string& name() const = 0;
  // Whether inputs may change their open extents from call to call at no cost.
  virtual bool any_shape() const = 0;
  // Whether the encoder may run in one thread while any graph runs in another.
  virtual bool concurrent() const = 0;
  // Whether float32 products may round their factors to 10 bits.
  virtual bool tf32() const { return false; }
};

}  // namespace mavos
