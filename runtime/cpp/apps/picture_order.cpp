#include "picture_order.h"

#include <algorithm>
#include <regex>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace fs = std::filesystem;

namespace {

// The rules of runtime/media/folders.py.
constexpr size_t kCounted = 2;  // digits behind a dot up to which they are a count of frames
constexpr size_t kParts = 9;    // up to which they may be whole parts of a second
constexpr size_t kPythons = 7;  // of Python's clock as text, and of no whole part of a second

using Paths = std::vector<fs::path>;
using Number = std::pair<size_t, std::string>;  // digits and their number; sorts by value
using Key = std::pair<std::vector<Number>, std::string>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

Number number_of(const std::string& digits) {
  const size_t first = std::min(digits.find_first_not_of('0'), digits.size());
  return {digits.size() - first, digits.substr(first)};
}

// Texts and numbers of a name in turns, a text first.
Key natural_key(const fs::path& file) {
  const std::string stem = file.stem().string();
  std::vector<Number> parts;
  for (size_t at = 0; at <= stem.size();) {
    const bool number = parts.size() % 2 == 1;
    size_t end = at;
    while (end < stem.size() && is_digit(stem[end]) == number) ++end;
    const std::string part = stem.substr(at, end - at);
    parts.push_back(number ? number_of(part) : Number{0, part});
    at = end == stem.size() ? end + 1 : end;
  }
  return {parts, file.filename().string()};
}

template <class KeyOf>
Paths sorted_by(const Paths& files, KeyOf key_of) {
  using KeyType = decltype(key_of(files[0]));
  std::vector<std::pair<KeyType, fs::path>> keyed;
  for (const auto& file : files) keyed.emplace_back(key_of(file), file);
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& one, const auto& other) { return one.first < other.first; });
  Paths sorted;
  for (auto& item : keyed) sorted.push_back(std::move(item.second));
  return sorted;
}

// Files by their numbers, where some are below zero, some aren't, and all begin alike.
bool by_sign(const Paths& files, Paths& sorted) {
  static const std::regex kSigned("(|[^\n]*[_ (=])(-?)([0-9]+)\\)?");
  std::set<std::string> starts;
  std::set<std::string> signs;
  for (const auto& file : files) {
    const std::string stem = file.stem().string();
    std::smatch match;
    if (!std::regex_match(stem, match, kSigned)) return false;
    starts.insert(match[1]);
    signs.insert(match[2]);
  }
  if (starts.size() != 1 || signs.size() != 2) return false;
  sorted = sorted_by(files, [](const fs::path& file) {
    const std::string stem = file.stem().string();
    std::smatch match;
    std::regex_match(stem, match, kSigned);
    const Number number = number_of(match[3]);
    const bool below = match.length(2) > 0 && number.first > 0;
    // Below zero the larger number comes first: fewer digits and smaller ones are last.
    std::string digits = number.second;
    if (below) {
      for (char& digit : digits) digit = static_cast<char>('0' + '9' - digit);
    }
    const auto length = static_cast<long>(number.first);
    return std::make_tuple(below ? -length : length, digits);
  });
  return true;
}

struct Time {
  std::string whole;
  std::string decimals;
};

bool read_time(const fs::path& file, Time& time) {
  static const std::regex kTime("([0-9]+)\\.([0-9]+)");
  const std::string stem = file.stem().string();
  std::smatch match;
  if (!std::regex_match(stem, match, kTime)) return false;
  time = {match[1], match[2]};
  return true;
}

// Files by time where all names are times with decimals; else as they are.
Paths by_time(const std::string& folder, const Paths& found) {
  size_t longest = 0;
  bool filled = false;  // a zero at an end: whole numbers, or decimals of one length
  bool zero_first = false;
  for (const auto& file : found) {
    Time time;
    if (!read_time(file, time)) return found;
    longest = std::max(longest, time.decimals.size());
    filled = filled || (time.decimals.back() == '0' && time.decimals != "0");
    zero_first = zero_first || (time.decimals.front() == '0' && time.decimals != "0");
  }
  if (filled) return found;
  const Paths timed = sorted_by(found, [](const fs::path& file) {
    Time time;
    read_time(file, time);
    return std::make_tuple(number_of(time.whole), time.decimals);
  });
  if (zero_first) return timed;
  if (longest <= kCounted || timed == found) return found;
  if (longest == kPythons || longest > kParts) return timed;
  const auto [counted, other] = std::mismatch(found.begin(), found.end(), timed.begin());
  Time time;
  read_time(*counted, time);
  const std::string suffix = counted->extension().string();
  const std::string zeros(longest - time.decimals.size(), '0');
  throw std::runtime_error(
      "names in " + folder + " may be times with decimals, by which " +
      other->filename().string() + " comes before " + counted->filename().string() +
      ", or have whole numbers behind the dot, such as microseconds, by which it comes after it; " +
      "rename them all with " + std::to_string(longest) + " digits behind the dot, such as " +
      time.whole + "." + time.decimals + zeros + suffix + " if they are decimals, or " +
      time.whole + "." + zeros + time.decimals + suffix + " if they are whole numbers");
}

}  // namespace

std::string sort_pictures(const std::string& folder, std::vector<fs::path>& files) {
  const Paths counted = sorted_by(files, natural_key);
  const bool below_zero = by_sign(counted, files);
  if (!below_zero) files = by_time(folder, counted);
  if (files == counted) return "";
  return "names in " + folder +
         (below_zero ? " are numbers below zero and above, and the order is that of numbers"
                     : " are times with decimals, and the order is that of times");
}
