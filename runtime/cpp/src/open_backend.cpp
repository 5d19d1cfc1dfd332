#include "open_backend.h"

#include <string>

#include "error.h"
#include "onnxruntime_backend.h"
#include "tensorrt_backend.h"
#include "words.h"

namespace mavos {

std::unique_ptr<Backend> open_backend(const Bundle& bundle, const mavos_options& options) {
  if (!options.provider || !same_word(options.provider, kTensorRt)) {
    return open_onnxruntime(bundle, options);
  }
#ifdef MAVOS_TENSORRT
  if (options.provider_options && options.provider_options[0]) {
    refuse_input(std::string(kTensorRt) + " takes no provider options");
  }
  return open_tensorrt(bundle);
#else
  refuse_backend("this libmavos was built without TensorRT, so it has no provider " +
                 std::string(kTensorRt) +
                 "; install TensorRT's headers, and build it with -DMAVOS_TENSORRT=ON");
#endif
}

}  // namespace mavos
