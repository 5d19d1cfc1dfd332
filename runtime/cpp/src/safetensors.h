// Files of the safetensors format: named tensors and a metadata of texts.
// Source: https://github.com/huggingface/safetensors, "Format".
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tensor.h"

namespace mavos {

struct TensorFile {
  Tensors tensors;
  std::map<std::string, std::string> metadata;
};

// Throws Reason (record.h) where the file is no such file, or is damaged; file system errors as
// std::filesystem::filesystem_error.
TensorFile read_tensors(const std::filesystem::path& path);

// The bytes of a file, laid out as the format's own library does it.
std::string tensor_bytes(const TensorFile& file);

}  // namespace mavos
