// Palette PNGs: masks that come in and label maps that go out.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

struct Mask {
  int height = 0;
  int width = 0;
  std::vector<uint8_t> labels;
  std::vector<uint8_t> palette;  // RGB, 3 bytes for each label; empty for a grey picture
};

// Reads a palette or grey PNG of at most 8 bits; throws std::runtime_error for anything else.
Mask read_mask(const std::filesystem::path& path);

// Writes a palette PNG, whole or not at all.
void write_mask(const std::filesystem::path& path, const Mask& mask);

// Colours of all labels: the palette, completed by that of DAVIS.
std::array<std::array<uint8_t, 3>, 256> colors_of(const std::vector<uint8_t>& palette);
