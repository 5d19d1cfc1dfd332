#include "palette_png.h"

#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

constexpr uint64_t kMostPixels = uint64_t{1} << 26;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

// libpng's way of failing: an exception with the file's name.
[[noreturn]] void fail(png_structp png, png_const_charp text) {
  const auto* path = static_cast<const std::filesystem::path*>(png_get_error_ptr(png));
  throw std::runtime_error(path->string() + ": " + text);
}
void ignore(png_structp, png_const_charp) {}

}  // namespace

Mask read_mask(const std::filesystem::path& path) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw std::runtime_error(path.string() + " can't be opened");
  auto name = path;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &name, fail, ignore);
  png_infop info = png_create_info_struct(png);
  const auto done = [&](png_structp) { png_destroy_read_struct(&png, &info, nullptr); };
  const std::unique_ptr<png_struct, decltype(done)> owner(png, done);
  png_init_io(png, file.get());
  png_read_info(png, info);
  const auto kind = png_get_color_type(png, info);
  const bool indexed = kind == PNG_COLOR_TYPE_PALETTE || kind == PNG_COLOR_TYPE_GRAY;
  if (!indexed || png_get_bit_depth(png, info) > 8) {
    fail(png, "a mask needs one object id per pixel; save it as a palette or grey PNG of 8 bits");
  }
  Mask mask;
  const png_uint_32 height = png_get_image_height(png, info);
  const png_uint_32 width = png_get_image_width(png, info);
  if (uint64_t{height} * width > kMostPixels) fail(png, "the picture is too large for a mask");
  mask.height = static_cast<int>(height);
  mask.width = static_cast<int>(width);
  png_colorp colors = nullptr;
  int count = 0;
  if (png_get_PLTE(png, info, &colors, &count)) {
    for (int i = 0; i < count; ++i) {
      mask.palette.insert(mask.palette.end(), {colors[i].red, colors[i].green, colors[i].blue});
    }
  }
  png_set_packing(png);  // one byte for each index, which keeps its value
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  mask.labels.resize(size_t{height} * width);
  std::vector<png_bytep> rows;
  for (size_t row = 0; row < height; ++row) rows.push_back(mask.labels.data() + row * width);
  png_read_image(png, rows.data());
  png_read_end(png, nullptr);
  return mask;
}

void write_mask(const std::filesystem::path& path, const Mask& mask) {
  auto temporary = path;
  temporary += ".part";
  File file(std::fopen(temporary.c_str(), "wb"));
  if (!file) throw std::runtime_error("cannot write " + path.string());
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &temporary, fail, ignore);
  png_infop info = png_create_info_struct(png);
  const auto done = [&](png_structp) { png_destroy_write_struct(&png, &info); };
  const std::unique_ptr<png_struct, decltype(done)> owner(png, done);
  const auto width = static_cast<png_uint_32>(mask.width);
  png_init_io(png, file.get());
  png_set_compression_level(png, 6);
  // Runs of one label are what there is to compress; to look for more takes twice the time.
  png_set_compression_strategy(png, Z_RLE);
  png_set_IHDR(png, info, width, static_cast<png_uint_32>(mask.height), 8, PNG_COLOR_TYPE_PALETTE,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  std::array<png_color, 256> colors{};
  const auto given = colors_of(mask.palette);
  for (size_t i = 0; i < colors.size(); ++i) colors[i] = {given[i][0], given[i][1], given[i][2]};
  png_set_PLTE(png, info, colors.data(), static_cast<int>(colors.size()));
  png_write_info(png, info);
  for (size_t row = 0; row < static_cast<size_t>(mask.height); ++row) {
    png_write_row(png, mask.labels.data() + row * width);
  }
  png_write_end(png, info);
  if (std::fclose(file.release()) != 0) {
    std::filesystem::remove(temporary);
    throw std::runtime_error("cannot write " + path.string() + ": is the disk full?");
  }
  std::filesystem::rename(temporary, path);
}

std::array<std::array<uint8_t, 3>, 256> colors_of(const std::vector<uint8_t>& palette) {
  std::array<std::array<uint8_t, 3>, 256> colors{};
  for (size_t label = 0; label < colors.size(); ++label) {
    // DAVIS's palette: bits of the label, three at a time, are the highest bits of a colour.
    for (size_t bit = 0; bit < 8; ++bit) {
      const size_t three = label >> (3 * bit) & 7;
      for (size_t c = 0; c < 3; ++c) {
        colors[label][c] = static_cast<uint8_t>(colors[label][c] | (three >> c & 1) << (7 - bit));
      }
    }
  }
  for (size_t i = 0; i + 2 < std::min<size_t>(palette.size(), 768); i += 3) {
    colors[i / 3] = {palette[i], palette[i + 1], palette[i + 2]};
  }
  return colors;
}
