// Words of users and for them.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>

namespace mavos {

// Whether two words are the same, small and capital letters alike.
inline bool same_word(const std::string& one, const std::string& two) {
  const auto small = [](char letter) { return std::tolower(static_cast<unsigned char>(letter)); };
  return std::equal(one.begin(), one.end(), two.begin(), two.end(),
                    [&](char left, char right) { return small(left) == small(right); });
}

// Bytes in megabytes, rounded up.
inline std::string megabytes(size_t bytes) {
  return std::to_string((bytes + 999'999) / 1'000'000) + " MB";
}

}  // namespace mavos
