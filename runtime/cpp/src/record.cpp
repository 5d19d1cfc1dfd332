#include "record.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <set>
#include <vector>

namespace mavos {

using nlohmann::json;

json parse_json(const std::string& text) {
  std::vector<std::set<std::string>> open;  // the keys so far of each object around the place
  const auto refuse_twice = [&open](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto key = value.get<std::string>();
      if (!open.back().insert(key).second) {
        throw Reason("it is not valid JSON (it holds the key '" + key.substr(0, 40) + "' twice)");
      }
    }
    return true;
  };
  try {
    return json::parse(text, refuse_twice);
  } catch (const json::exception& error) {
    const std::string what = error.what();  // begins with a number in brackets
    throw Reason("it is not valid JSON (" + what.substr(what.find("] ") + 2) + ")");
  }
}

void check_version(const json& data, int64_t version) {
  if (!data.is_object() || !data.contains("format_version") ||
      !data["format_version"].is_number_integer()) {
    throw Reason("`format_version` is missing");
  }
  const auto& found = data["format_version"];
  if (found != version) {
    throw Reason("it has format version " + found.dump() + ", this release reads " +
                 std::to_string(version) + (found > version ? "; update mavos-deploy" : ""));
  }
}

namespace {

// A float as Python's repr writes it: the shortest digits that give the same float.
std::string python_repr(double value) {
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  const std::string text(buffer.data(), end.ptr);
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) return text;  // two digits of exponent or more, as there
  const auto fixed = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::fixed);
  std::string plain(buffer.data(), fixed.ptr);
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

}  // namespace

std::string python_json(const nlohmann::ordered_json& value) {
  if (value.is_number_float()) return python_repr(value.get<double>());
  if (!value.is_structured()) {
    return value.dump(-1, ' ', true);
  }
  std::string text;
  for (const auto& [key, item] : value.items()) {
    if (!text.empty()) text += ", ";
    if (value.is_object()) text += nlohmann::ordered_json(key).dump(-1, ' ', true) + ": ";
    text += python_json(item);
  }
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
}

bool Place::has(const std::string& key) const {
  return object().contains(key) && !object()[key].is_null();
}

Place Place::operator[](const std::string& key) const {
  if (!object().contains(key)) {
    throw Reason("`" + key + "` is missing" + (path_.empty() ? "" : " in `" + path_ + "`"));
  }
  return Place(object()[key], path_.empty() ? key : path_ + "." + key);
}

Place Place::item(size_t index) const {
  return Place((*value_)[index], path_ + "[" + std::to_string(index) + "]");
}

size_t Place::size() const {
  if (!value_->is_array()) expected("array");
  return value_->size();
}

int64_t Place::integer(int64_t low, int64_t high) const {
  if (!value_->is_number_integer()) expected("int");
  const bool huge = value_->is_number_unsigned() &&
                    value_->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  const auto found = value_->get<int64_t>();
  if (huge || found < low || found > high) {
    refuse("expected `int` from " + std::to_string(low) + " to " + std::to_string(high) +
           ", got " + value_->dump());
  }
  return found;
}

double Place::number(double low, double high) const {
  if (!value_->is_number()) expected("float");
  const auto found = value_->get<double>();
  if (!(found >= low && found <= high)) refuse("it is out of its range, got " + value_->dump());
  return found;
}

bool Place::boolean() const {
  if (!value_->is_boolean()) expected("bool");
  return value_->get<bool>();
}

std::string Place::text() const {
  if (!value_->is_string()) expected("str");
  return value_->get<std::string>();
}

std::string Place::word(std::initializer_list<const char*> accepted) const {
  const std::string found = text();
  std::string known;
  for (const char* word : accepted) {
    if (found == word) return found;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  refuse("'" + found.substr(0, 40) + "' is unknown to this release, which reads " + known +
         "; update mavos-deploy");
}

const json& Place::object() const {
  if (!value_->is_object()) expected("object");
  return *value_;
}

void Place::refuse(const std::string& what) const {
  throw Reason(path_.empty() ? what : "`" + path_ + "`: " + what);
}

void Place::expected(const char* what) const {
  refuse(std::string("expected `") + what + "`, got " + value_->dump(-1, ' ', true).substr(0, 40));
}

}  // namespace mavos
