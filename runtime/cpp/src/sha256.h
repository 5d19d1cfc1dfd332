// SHA-256, as manifests record it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace mavos {

class Sha256 {
 public:
  void update(const void* data, size_t size);
  std::string hex_digest();  // lower-case hex digits; the object can't be used afterwards

 private:
  void blocks(const uint8_t* data, size_t count);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> pending_{};
  uint64_t size_ = 0;
};

std::string sha256(const std::string& text);
// Throws std::filesystem::filesystem_error where the file can't be read.
std::string file_sha256(const std::filesystem::path& path);

}  // namespace mavos
