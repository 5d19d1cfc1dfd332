#include "exif.h"

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>

namespace {

constexpr size_t kOrientation = 0x112;
const std::string kExif("Exif\0\0", 6);

// A number of some bytes; 0 behind the end.
size_t number(const std::string& bytes, size_t place, size_t count, bool big) {
  size_t found = 0;
  if (place > bytes.size() || bytes.size() - place < count) return 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t at = place + (big ? i : count - 1 - i);
    found = found << 8 | static_cast<uint8_t>(bytes[at]);
  }
  return found;
}

// The tag in the first directory of a block, which is a TIFF; 0 where it has none.
size_t orientation(const std::string& block) {
  const bool named = block.compare(0, kExif.size(), kExif) == 0;
  const std::string tiff = named ? block.substr(kExif.size()) : block;
  const bool big = tiff.compare(0, 2, "MM") == 0;
  if ((!big && tiff.compare(0, 2, "II") != 0) || number(tiff, 2, 2, big) != 42) return 0;
  const size_t directory = number(tiff, 4, 4, big);
  const size_t entries = number(tiff, directory, 2, big);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (number(tiff, entry, 2, big) == kOrientation) return number(tiff, entry + 8, 2, big);
  }
  return 0;
}

// The EXIF block of a JPEG; empty where it has none.
std::string block_of_jpeg(const std::string& file) {
  size_t place = 2;
  while (number(file, place, 1, true) == 0xFF) {
    const size_t kind = number(file, place + 1, 1, true);
    if (kind == 0xFF) {  // filling
      ++place;
      continue;
    }
    const size_t length = number(file, place + 2, 2, true);
    if (kind == 0xDA || length < 2) break;  // the picture itself
    if (kind == 0xE1 && file.compare(place + 4, kExif.size(), kExif) == 0) {
      return file.substr(place + 4, length - 2);
    }
    place += 2 + length;
  }
  return {};
}

std::string block_of_png(const std::string& file) {
  for (size_t place = 8; place + 12 <= file.size();) {
    const size_t length = number(file, place, 4, true);
    if (file.compare(place + 4, 4, "eXIf") == 0) return file.substr(place + 8, length);
    place += 12 + length;
  }
  return {};
}

std::string block_of_webp(const std::string& file) {
  for (size_t place = 12; place + 8 <= file.size();) {
    const size_t length = number(file, place + 4, 4, false);
    if (file.compare(place, 4, "EXIF") == 0) return file.substr(place + 8, length);
    place += 8 + length + length % 2;
  }
  return {};
}

}  // namespace

Turn exif_turn(const std::string& file) {
  std::ifstream opened(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(opened), std::istreambuf_iterator<char>()};
  std::string block;
  if (bytes.compare(0, 2, "\xFF\xD8") == 0) {
    block = block_of_jpeg(bytes);
  } else if (bytes.compare(0, 4, "\x89PNG") == 0) {
    block = block_of_png(bytes);
  } else if (bytes.compare(0, 4, "RIFF") == 0) {
    block = block_of_webp(bytes);
  }
  const size_t found = orientation(block);
  constexpr std::array<Turn, 9> kTurns{Turn{},       {},        {0, true}, {2, false}, {2, true},
                                       {3, true},    {3, false}, {1, true}, {1, false}};
  return found < kTurns.size() ? kTurns[found] : Turn{};
}
