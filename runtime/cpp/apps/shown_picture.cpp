#include "shown_picture.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

extern "C" {
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace {

constexpr double kSquareEnough = 0.01;
constexpr double kNarrowest = 1.0 / 16;  // a shape beyond this, or its inverse, is an error of the file

constexpr int kAnywhere = -513;  // FFmpeg's own choice of a place

bool interlaced(const AVFrame& picture) {
#ifdef AV_FRAME_FLAG_INTERLACED
  return (picture.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return picture.interlaced_frame != 0;
#endif
}

const AVPixFmtDescriptor& description_of(const AVFrame& picture) {
  const AVPixFmtDescriptor* found = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(picture.format));
  if (!found) throw std::runtime_error("a frame of unknown format");
  return *found;
}

bool known_matrix(AVColorSpace matrix) {
  switch (matrix) {
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_RGB:
    case AVCOL_SPC_BT709:
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
    case AVCOL_SPC_FCC:
    case AVCOL_SPC_SMPTE240M:
    case AVCOL_SPC_BT2020_NCL:
      return true;
    default:
      return false;
  }
}

bool whole_range(const AVFrame& picture, const AVPixFmtDescriptor& kind) {
  return picture.color_range == AVCOL_RANGE_JPEG || std::string(kind.name).rfind("yuvj", 0) == 0;
}

// Where the colour samples lie between the grey ones, in 256ths of a pixel, among
// the lines `first`, `first + every` and so on.
std::pair<int, int> colour_place(const AVFrame& picture, const AVPixFmtDescriptor& kind, int first,
                                 int every) {
  int across = 128;
  int down = 128;
  switch (picture.chroma_location) {
    case AVCHROMA_LOC_LEFT: across = 0; break;
    case AVCHROMA_LOC_TOPLEFT: across = 0; down = 0; break;
    case AVCHROMA_LOC_TOP: down = 0; break;
    case AVCHROMA_LOC_BOTTOMLEFT: across = 0; down = 256; break;
    case AVCHROMA_LOC_BOTTOM: down = 256; break;
    default: break;
  }
  across *= (1 << kind.log2_chroma_w) - 1;
  down *= (1 << kind.log2_chroma_h) - 1;
  down = (down + 256 * first) / every;
  return {kind.log2_chroma_w ? across : kAnywhere, kind.log2_chroma_h ? down : kAnywhere};
}

}  // namespace

PictureConverter::PictureConverter(const std::string& name, double aspect) : name_(name) {
  const bool possible = aspect >= kNarrowest && aspect <= 1 / kNarrowest;
  if (possible && std::abs(aspect - 1) >= kSquareEnough) {
    throw std::runtime_error(name_ + ": its pixels are not square; stretch them first: ffmpeg -i IN " +
                             "-vf scale=iw*sar:ih,setsar=1 OUT.mp4");
  }
}

void PictureConverter::refuse(const AVFrame& picture, const std::string& why) const {
  throw std::runtime_error(name_ + ": a frame of format " + description_of(picture).name + " " + why);
}

void PictureConverter::check(const AVFrame& picture) const {
  const AVPixFmtDescriptor& kind = description_of(picture);
  if (picture.color_trc == AVCOL_TRC_SMPTE2084) {
    throw std::runtime_error(name_ + " is HDR in PQ, which mavos-track can't bring into the range of " +
                             "ordinary screens; use mavos-run, or convert it to BT.709 with ffmpeg");
  }
  if (kind.nb_components == 1 && kind.comp[0].depth > 8) {
    refuse(picture, "is grey with more than 8 bits; use mavos-run, which has --levels, or convert it " +
                        std::string("to 8 bits with ffmpeg"));
  }
  if (!known_matrix(picture.colorspace)) {
    refuse(picture, "has a colour matrix that can't be converted to RGB; re-encode it with ffmpeg");
  }
}

cv::Mat PictureConverter::convert(const AVFrame& picture, const Turn& turn) {
  check(picture);
  // Rows end in a gap, because the conversion may write a little behind their end.
  cv::Mat rgb = room(picture.height, (picture.width + 63) / 32 * 32).colRange(0, picture.width);
  // The lines of an interlaced picture belong to two moments, and so do its colours.
  const int every = interlaced(picture) ? 2 : 1;
  for (int first = 0; first < every; ++first) convert_lines(picture, rgb, first, every);
  return shown(rgb, turn);
}

cv::Mat PictureConverter::room(int height, int width) {
  for (cv::Mat& kept : kept_) {
    const bool held = kept.u && __atomic_load_n(&kept.u->refcount, __ATOMIC_ACQUIRE) > 1;
    if (held) continue;  // by whoever that picture was given to
    kept.create(height, width, CV_8UC3);
    return kept;
  }
  return cv::Mat(height, width, CV_8UC3);  // braces would list three elements
}

// Copies planes of colours that lack the last line which a conversion of the lines `first`,
// `first + every` and so on reads, and repeats the line before it there.
std::array<cv::Mat, 4> fill_colours(const AVFrame& picture, const AVPixFmtDescriptor& format,
                                    int first, int every, std::array<const uint8_t*, 4>& from,
                                    std::array<int, 4>& steps) {
  std::array<cv::Mat, 4> filled;
  const int shift = format.log2_chroma_h;
  const int height = (picture.height + every - 1 - first) / every;
  const int stored = -(-picture.height >> shift);
  const int there = (stored + every - 1 - first) / every;
  const int wanted = -(-height >> shift);
  if (shift == 0 || there >= wanted) return filled;
  for (size_t plane = 1; plane < 3 && from[plane]; ++plane) {
    const int bytes = av_image_get_linesize(static_cast<AVPixelFormat>(picture.format), picture.width,
                                            static_cast<int>(plane));
    if (bytes <= 0) continue;
    filled[plane].create(wanted, (bytes + 63) / 32 * 32, CV_8UC1);
    for (int line = 0; line < wanted; ++line) {
      const int known = std::min(first + line * every, stored - 1);
      std::memcpy(filled[plane].ptr(line), picture.data[plane] + known * picture.linesize[plane],
                  static_cast<size_t>(bytes));
    }
    from[plane] = filled[plane].ptr();
    steps[plane] = static_cast<int>(filled[plane].step[0]);
  }
  return filled;
}

// Converts the lines `first`, `first + every` and so on.
void PictureConverter::convert_lines(const AVFrame& picture, cv::Mat& rgb, int first, int every) {
  const AVPixFmtDescriptor& format = description_of(picture);
  const int height = (picture.height + every - 1 - first) / every;
  if (height == 0) return;
  const auto [across, down] = colour_place(picture, format, first, every);
  Step::Kind kind{picture.width,      height, picture.format, AV_PIX_FMT_RGB24,
                  picture.colorspace, whole_range(picture, format), across, down, kAnywhere};
  std::array<const uint8_t*, 4> from{};
  std::array<int, 4> steps{};
  for (size_t plane = 0; plane < from.size() && picture.data[plane]; ++plane) {
    const bool palette = plane == 1 && (format.flags & AV_PIX_FMT_FLAG_PAL);
    from[plane] = picture.data[plane] + (palette ? 0 : first * picture.linesize[plane]);
    steps[plane] = picture.linesize[plane] * (palette ? 1 : every);
  }
  const std::array<cv::Mat, 4> filled = fill_colours(picture, format, first, every, from, steps);
  // FFmpeg before 8 takes one of two lines of colours where there is no fast conversion.
  cv::Mat planes[3];
  const bool coarse = format.log2_chroma_h > 0 && (format.comp[0].depth > 8 || height % 2);
  if (coarse) {
    Step::Kind spread = kind;
    spread.to = AV_PIX_FMT_YUV422P16;
    spread.to_across = across;
    std::array<uint8_t*, 4> to{};
    std::array<int, 4> to_steps{};
    for (size_t plane = 0; plane < 3; ++plane) {
      const int width = plane ? (picture.width + 1) / 2 : picture.width;
      planes[plane].create(height, (width + 63) / 32 * 32, CV_16UC1);
      to[plane] = planes[plane].ptr();
      to_steps[plane] = static_cast<int>(planes[plane].step[0]);
    }
    if (!spread_.run(spread, from.data(), steps.data(), to.data(), to_steps.data())) {
      refuse(picture, "can't be converted to RGB; re-encode it with ffmpeg");
    }
    kind.from = spread.to;
    kind.down = kAnywhere;
    std::copy(to.begin(), to.end(), from.begin());
    steps = to_steps;
  }
  uint8_t* const to[4] = {rgb.ptr(first), nullptr, nullptr, nullptr};
  const int to_steps[4] = {static_cast<int>(rgb.step[0]) * every, 0, 0, 0};
  if (!to_rgb_.run(kind, from.data(), steps.data(), to, to_steps)) {
    refuse(picture, "can't be converted to RGB; re-encode it with ffmpeg");
  }
}

PictureConverter::Step::~Step() { sws_freeContext(scaler_); }

bool PictureConverter::Step::Kind::operator==(const Kind& other) const {
  return std::memcmp(this, &other, sizeof(Kind)) == 0;  // numbers alone, without gaps
}

bool PictureConverter::Step::run(const Kind& kind, const uint8_t* const* from, const int* from_steps,
                                 uint8_t* const* to, const int* to_steps) {
  if (!scaler_ || !(kind == kind_)) {
    sws_freeContext(scaler_);
    scaler_ = sws_alloc_context();
    if (!scaler_) throw std::bad_alloc();
    kind_ = kind;
    const std::array<std::pair<const char*, int>, 10> settings{{{"srcw", kind.width},
                                                                {"srch", kind.height},
                                                                {"src_format", kind.from},
                                                                {"dstw", kind.width},
                                                                {"dsth", kind.height},
                                                                {"dst_format", kind.to},
                                                                {"sws_flags", SWS_BILINEAR},
                                                                {"src_h_chr_pos", kind.across},
                                                                {"src_v_chr_pos", kind.down},
                                                                {"dst_h_chr_pos", kind.to_across}}};
    for (const auto& [key, value] : settings) {
      if (av_opt_set_int(scaler_, key, value, 0) < 0) return false;
    }
    const int* matrix = sws_getCoefficients(kind.matrix);
    const int to_whole = kind.to == AV_PIX_FMT_RGB24 ? 1 : kind.whole;
    const int told = sws_setColorspaceDetails(scaler_, matrix, kind.whole, matrix, to_whole, 0,
                                              1 << 16, 1 << 16);
    const AVPixFmtDescriptor* from_format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(kind.from));
    const bool coloured = from_format->nb_components >= 3 && !(from_format->flags & AV_PIX_FMT_FLAG_RGB);
    if (told < 0 && coloured) return false;  // others have no matrix
    if (sws_init_context(scaler_, nullptr, nullptr) < 0) return false;
  }
  return sws_scale(scaler_, from, from_steps, 0, kind.height, to, to_steps) == kind.height;
}
