#include "resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace mavos {

std::vector<int32_t> nearest_index(int64_t source, int64_t target) {
  const float scale = static_cast<float>(source) / static_cast<float>(target);
  std::vector<int32_t> index(static_cast<size_t>(target));
  for (size_t i = 0; i < index.size(); ++i) {
    const auto position = static_cast<int32_t>(static_cast<float>(i) * scale);
    index[i] = std::min(position, static_cast<int32_t>(source - 1));
  }
  return index;
}

std::vector<uint8_t> resize_labels(const uint8_t* labels, const Size& size, const Size& target) {
  if (size == target) return {labels, labels + size.height * size.width};
  const auto rows = nearest_index(size.height, target.height);
  const auto columns = nearest_index(size.width, target.width);
  std::vector<uint8_t> resized(rows.size() * columns.size());
  uint8_t* out = resized.data();
  for (const int32_t row : rows) {
    const uint8_t* line = labels + row * size.width;
    for (const int32_t column : columns) *out++ = line[column];
  }
  return resized;
}

Tensor bilinear_matrix(int64_t source, int64_t target, bool align_corners) {
  Draft<float> matrix(Type::float32, {target, source});
  const float corner_scale =
      target > 1 ? static_cast<float>(source - 1) / static_cast<float>(target - 1) : 0.0F;
  // torch's multiply and subtract are one instruction, rounded once; in float64 this is exact.
  const double ratio = static_cast<float>(source) / static_cast<float>(target);
  for (int64_t i = 0; i < target; ++i) {
    const auto step = static_cast<float>(i);
    const float position =
        align_corners
            ? step * corner_scale
            : static_cast<float>(std::max(ratio * (static_cast<double>(step) + 0.5) - 0.5, 0.0));
    const int64_t low = std::min(static_cast<int64_t>(position), source - 1);
    const int64_t high = std::min(low + 1, source - 1);
    const float weight = std::clamp(position - static_cast<float>(low), 0.0F, 1.0F);
    float* row = matrix.data() + i * source;
    row[low] = 1 - weight;
    row[high] += weight;
  }
  return matrix.done();
}

namespace {

Tensor index_tensor(int64_t source, int64_t target) {
  Draft<int32_t> draft(Type::int32, {target});
  *draft.values = nearest_index(source, target);
  return draft.done();
}

struct Tap {
  std::array<int64_t, 4> source;
  std::array<float, 4> weight;
};

// Keys' cubic kernel at distances 0..2 from the sample, in pixels.
double cubic(double distance) {
  constexpr double a = -0.75;
  if (distance <= 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  return a * (((distance - 5) * distance + 8) * distance - 4);
}

std::vector<Tap> taps(int64_t source, int64_t target) {
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  std::vector<Tap> found(static_cast<size_t>(target));
  for (size_t i = 0; i < found.size(); ++i) {
    const double position = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const double low = std::floor(position);
    for (size_t k = 0; k < 4; ++k) {
      const double offset = static_cast<double>(k) - 1;
      const int64_t index = static_cast<int64_t>(low) + static_cast<int64_t>(k) - 1;
      found[i].source[k] = std::clamp<int64_t>(index, 0, source - 1);
      found[i].weight[k] = static_cast<float>(cubic(std::abs(position - low - offset)));
    }
  }
  return found;
}

// One row of a picture as float32 RGB.
void unpack_row(const mavos_image& image, const uint8_t* row, float* out) {
  const auto count = static_cast<size_t>(image.width) * 3;
  if (image.pixels == MAVOS_RGB32F) {
    std::memcpy(out, row, count * sizeof(float));
  } else if (image.pixels == MAVOS_RGB8) {
    std::copy(row, row + count, out);
  } else {
    for (size_t i = 0; i < count; i += 3) {
      out[i] = row[i + 2];
      out[i + 1] = row[i + 1];
      out[i + 2] = row[i];
    }
  }
}

void resize_row(const float* row, const std::vector<Tap>& columns, float* out) {
  for (const Tap& tap : columns) {
    const float* a = row + tap.source[0] * 3;
    const float* b = row + tap.source[1] * 3;
    const float* c = row + tap.source[2] * 3;
    const float* d = row + tap.source[3] * 3;
    const auto& w = tap.weight;
    for (int i = 0; i < 3; ++i) {
      *out++ = ((w[0] * a[i] + w[1] * b[i]) + w[2] * c[i]) + w[3] * d[i];
    }
  }
}

}  // namespace

Tensors interpolation(const Size& size, const Size& input_size, bool align_corners) {
  Tensors made;
  made["row_weights"] =
      bilinear_matrix(downsampled(input_size.height, 4), size.height, align_corners);
  made["column_weights"] =
      bilinear_matrix(downsampled(input_size.width, 4), size.width, align_corners);
  made["row_index"] = index_tensor(size.height, input_size.height);
  made["column_index"] = index_tensor(size.width, input_size.width);
  return made;
}

Tensor resize_frame(const mavos_image& image, const Size& target) {
  const size_t pixel = image.pixels == MAVOS_RGB32F ? 3 * sizeof(float) : 3;
  const size_t stride = image.stride ? image.stride : pixel * static_cast<size_t>(image.width);
  const auto* data = static_cast<const uint8_t*>(image.data);
  const auto row_at = [&](int64_t row) { return data + static_cast<size_t>(row) * stride; };
  Draft<float> frame(Type::float32, {1, target.height, target.width, 3});
  const auto width = static_cast<size_t>(target.width) * 3;
  if (Size{image.height, image.width} == target) {
    for (int64_t row = 0; row < target.height; ++row) {
      unpack_row(image, row_at(row), frame.data() + static_cast<size_t>(row) * width);
    }
    return frame.done();
  }
  const auto rows = taps(image.height, target.height);
  const auto columns = taps(image.width, target.width);
  // The latest four rows of the source at their new width, each in the place of its number.
  std::vector<float> unpacked(static_cast<size_t>(image.width) * 3);
  std::array<std::vector<float>, 4> ring;
  std::array<int64_t, 4> held = {-1, -1, -1, -1};
  for (auto& row : ring) row.resize(width);
  float* out = frame.data();
  for (const Tap& tap : rows) {
    std::array<const float*, 4> line{};
    for (size_t k = 0; k < 4; ++k) {
      const int64_t source = tap.source[k];
      const auto place = static_cast<size_t>(source % 4);
      if (held[place] != source) {
        unpack_row(image, row_at(source), unpacked.data());
        resize_row(unpacked.data(), columns, ring[place].data());
        held[place] = source;
      }
      line[k] = ring[place].data();
    }
    const auto& w = tap.weight;
    for (size_t i = 0; i < width; ++i) {
      out[i] = ((w[0] * line[0][i] + w[1] * line[1][i]) + w[2] * line[2][i]) + w[3] * line[3][i];
    }
    out += width;
  }
  return frame.done();
}

}  // namespace mavos
