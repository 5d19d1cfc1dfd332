#include "outline.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>

#include "video_file.h"

namespace {

constexpr int kMaxParts = 1'000'000;  // boxes, chunks or elements that are looked at
constexpr uint64_t kSegment = 0x18538067;
constexpr uint64_t kCluster = 0x1F43B675;
constexpr uint64_t kPadding = 0xEC;
constexpr int64_t kHead = 12;  // bytes that hold the name and the length of an element
// Elements of the top levels of Matroska: header, index of the parts, description, tracks,
// clusters, index of the packets, attachments, chapters, tags, padding, checksum.
constexpr std::array<uint64_t, 11> kMatroska{0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B,
                                             kCluster,   0x1C53BB6B, 0x1941A469, 0x1043A770,
                                             0x1254C367, kPadding,       0xBF};

constexpr Outline kTorn{false, 0};

class Bytes {
 public:
  explicit Bytes(const std::string& file) : file_(file, std::ios::binary | std::ios::ate) {
    size_ = file_ ? static_cast<int64_t>(file_.tellg()) : 0;
  }

  int64_t size() const { return size_; }

  // Up to this many bytes of a place.
  std::string at(int64_t place, size_t count) {
    std::string found(count, '\0');
    file_.clear();
    file_.seekg(place);
    file_.read(found.data(), static_cast<std::streamsize>(count));
    found.resize(static_cast<size_t>(std::max<std::streamsize>(file_.gcount(), 0)));
    return found;
  }

 private:
  std::ifstream file_;
  int64_t size_ = 0;
};

uint64_t big(const std::string& bytes, size_t from, size_t count) {
  uint64_t number = 0;
  for (size_t i = from; i < from + count && i < bytes.size(); ++i) {
    number = number << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return number;
}

int64_t little(const std::string& bytes, size_t from) {
  int64_t number = 0;
  for (size_t i = 0; i < 4; ++i) number |= int64_t{static_cast<uint8_t>(bytes[from + i])} << 8 * i;
  return number;
}

// The boxes of the top level. A file in fragments lists no packets in one place.
std::optional<Outline> mp4(Bytes& file) {
  int64_t place = 0;
  for (int i = 0; i < kMaxParts; ++i) {
    const std::string head = file.at(place, 16);
    if (head.size() < 8) return Outline{place == file.size(), 0};
    uint64_t length = big(head, 0, 4);
    const std::string kind = head.substr(4, 4);
    if (kind == "moof" || kind == "sidx") return std::nullopt;
    if (length == 1) {
      length = big(head, 8, 8);
    } else if (length == 0) {
      return Outline{true, 0};
    }
    if (length < 8) return std::nullopt;
    if (length > static_cast<uint64_t>(file.size() - place)) return kTorn;
    place += static_cast<int64_t>(length);
  }
  return std::nullopt;
}

int64_t movi_end(Bytes& file, int64_t place, int64_t end) {
  int64_t found = 0;
  for (int i = 0; i < kMaxParts && place + 12 <= end; ++i) {
    const std::string head = file.at(place, 12);
    if (head.size() < 12) break;
    const int64_t length = little(head, 4);
    place += 8 + length + length % 2;
    if (head.compare(0, 4, "LIST") == 0 && head.compare(8, 4, "movi") == 0) {
      found = std::min(place, end);
    }
  }
  return found;
}

// The RIFF chunks, and in them the lists of packets.
std::optional<Outline> avi(Bytes& file) {
  int64_t place = 0;
  int64_t data_end = 0;
  while (place + 12 <= file.size()) {
    const std::string head = file.at(place, 12);
    if (head.size() < 12) break;
    const int64_t length = little(head, 4);
    if (head.compare(0, 4, "RIFF") != 0 || length == 0) break;
    const int64_t end = place + 8 + length;
    if (end > file.size()) return kTorn;
    data_end = std::max(data_end, movi_end(file, place + 12, end));
    place = end + end % 2;
  }
  if (data_end == 0) return std::nullopt;
  return Outline{true, data_end};
}

struct Element {
  uint64_t kind;
  std::optional<int64_t> length;  // none where it is unknown
  int64_t start;                  // of the content
};

size_t bits_of(uint8_t number) {
  size_t bits = 0;
  for (; number; number = static_cast<uint8_t>(number >> 1)) ++bits;
  return bits;
}

std::optional<Element> element(Bytes& file, int64_t place) {
  const std::string head = file.at(place, 12);
  if (head.empty() || static_cast<uint8_t>(head[0]) < 0x10) return std::nullopt;
  const size_t name_bytes = 9 - bits_of(static_cast<uint8_t>(head[0]));
  if (head.size() <= name_bytes || head[name_bytes] == 0) return std::nullopt;
  const size_t length_bytes = 9 - bits_of(static_cast<uint8_t>(head[name_bytes]));
  const uint64_t most = (uint64_t{1} << 7 * length_bytes) - 1;
  const uint64_t length = big(head, name_bytes, length_bytes) & most;
  const int64_t start = place + static_cast<int64_t>(name_bytes + length_bytes);
  if (length == most) return Element{big(head, 0, name_bytes), std::nullopt, start};
  return Element{big(head, 0, name_bytes), static_cast<int64_t>(length), start};
}

bool is_matroska(uint64_t kind) {
  return std::find(kMatroska.begin(), kMatroska.end(), kind) != kMatroska.end();
}

// A segment that is longer than its file: whether the cut lies behind the clusters.
Outline torn_matroska(Bytes& file, int64_t place) {
  int64_t data_end = 0;
  for (int i = 0; i < kMaxParts; ++i) {
    if (place + kHead > file.size()) return kTorn;  // a cluster may have followed
    const auto found = element(file, place);
    if (!found || !found->length || !is_matroska(found->kind)) return kTorn;
    place = found->start + *found->length;
    if (found->kind == kCluster) {
      data_end = place;
    } else if (place > file.size() && data_end > 0 && found->kind != kPadding) {
      return Outline{true, data_end};
    }
  }
  return kTorn;
}

// The segment, and in it the clusters of packets.
std::optional<Outline> matroska(Bytes& file) {
  int64_t place = 0;
  int64_t data_end = 0;
  int64_t end = file.size();
  bool inside = false;
  for (int i = 0; i < kMaxParts; ++i) {
    if (place >= end) {
      if (data_end == 0) return std::nullopt;
      return Outline{true, data_end};
    }
    const auto found = element(file, place);
    if (!found || !found->length) return std::nullopt;  // damaged, or recorded as it came
    const int64_t behind = found->start + *found->length;
    if (found->kind == kSegment) {
      if (behind > file.size()) return torn_matroska(file, found->start);
      place = found->start;
      end = behind;
      inside = true;
      continue;
    }
    if (!is_matroska(found->kind)) {
      // Nobody knows what lies from here on.
      if (!inside) return std::nullopt;
      return Outline{true, end};
    }
    place = behind;
    if (found->kind == kCluster) data_end = place;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Outline> outline_of(const std::string& file, const char* formats) {
  Bytes bytes(file);
  if (is_any(formats, {"mp4"})) return mp4(bytes);
  if (is_any(formats, {"avi"})) return avi(bytes);
  if (is_any(formats, {"matroska"})) return matroska(bytes);
  return std::nullopt;
}
