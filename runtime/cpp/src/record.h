// Reading of JSON records with checks: the value at a place, or a reason that names the place.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace mavos {

// Why a record can't be read, such as "`size` is missing".
class Reason : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

nlohmann::json parse_json(const std::string& text);

// Refuses a record of another format version.
void check_version(const nlohmann::json& data, int64_t version);

// JSON as Python's json.dumps writes it, which hashes and state files need.
std::string python_json(const nlohmann::ordered_json& value);

// A place in a record.
class Place {
 public:
  explicit Place(const nlohmann::json& value, std::string path = "")
      : value_(&value), path_(std::move(path)) {}

  bool has(const std::string& key) const;      // whether the field is there and not null
  Place operator[](const std::string& key) const;  // refuses if it is missing
  Place item(size_t index) const;
  size_t size() const;  // of an array; refuses anything else

  int64_t integer(int64_t low = std::numeric_limits<int64_t>::min(),
                  int64_t high = std::numeric_limits<int64_t>::max()) const;
  double number(double low, double high) const;
  bool boolean() const;
  std::string text() const;
  std::string word(std::initializer_list<const char*> accepted) const;
  const nlohmann::json& object() const;
  const nlohmann::json& value() const { return *value_; }

  [[noreturn]] void refuse(const std::string& what) const;

 private:
  [[noreturn]] void expected(const char* what) const;

  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace mavos
