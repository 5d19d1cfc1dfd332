#include "video_file.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

extern "C" {
#include <libavutil/opt.h>
}

namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 26;  // as in the library

[[noreturn]] void refuse(const std::string& text) { throw std::runtime_error(text); }

const int32_t* display_matrix(const AVStream& stream, const AVFrame& picture) {
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 100)
  const AVPacketSideData* found =
      av_packet_side_data_get(stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data,
                              AV_PKT_DATA_DISPLAYMATRIX);
  if (found) return reinterpret_cast<const int32_t*>(found->data);
#else
  const uint8_t* found = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
  if (found) return reinterpret_cast<const int32_t*>(found);
#endif
  const AVFrameSideData* own = av_frame_get_side_data(&picture, AV_FRAME_DATA_DISPLAYMATRIX);
  return own ? reinterpret_cast<const int32_t*>(own->data) : nullptr;
}

}  // namespace

std::string words_of(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return text.data();
}

bool is_any(const char* container, std::initializer_list<std::string> names) {
  const std::string all = "," + std::string(container) + ",";
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return all.find("," + name + ",") != all.npos;
  });
}

Container open_container(const std::string& file) {
  av_log_set_level(AV_LOG_QUIET);  // what matters is said in our own words
  AVFormatContext* opened = nullptr;
  const std::string address = "file:" + file;  // a name with a colon is no protocol
  const int failed = avformat_open_input(&opened, address.c_str(), nullptr, nullptr);
  if (failed < 0) {
    refuse(file + " cannot be opened: not a video, or cut off (" + words_of(failed) + ")");
  }
  Container container(opened);
  const std::string kind = container->iformat->name;
  const bool picture = kind.size() > 5 && kind.compare(kind.size() - 5, 5, "_pipe") == 0;
  if (picture || is_any(kind.c_str(), {"image2", "apng", "webp"})) {
    refuse(file + " is an image; give the folder of the video's frames, as PNG, JPEG, BMP or WebP");
  }
  if (avformat_find_stream_info(opened, nullptr) < 0) {
    refuse(file + " cannot be opened: not a video, or cut off");
  }
  return container;
}

AVStream* video_of(const std::string& file, const AVFormatContext& container,
                   std::vector<std::string>& notes) {
  std::vector<AVStream*> found;
  int videos = 0;
  for (unsigned i = 0; i < container.nb_streams; ++i) {
    AVStream* stream = container.streams[i];
    const bool cover = stream->disposition & AV_DISPOSITION_ATTACHED_PIC;
    if (stream->codecpar->codec_type != AVMEDIA_TYPE_VIDEO || cover) continue;
    ++videos;
    if (avcodec_find_decoder(stream->codecpar->codec_id)) found.push_back(stream);
  }
  if (videos == 0) refuse(file + " holds no video");
  if (found.empty()) refuse(file + ": no decoder for its video; re-encode it as H.264");
  const auto rank = [](const AVStream* stream) {
    const int64_t pixels = int64_t{stream->codecpar->width} * stream->codecpar->height;
    return std::make_pair((stream->disposition & AV_DISPOSITION_DEFAULT) != 0, pixels);
  };
  AVStream* chosen = *std::max_element(
      found.begin(), found.end(), [&](auto* one, auto* two) { return rank(one) < rank(two); });
  if (rank(chosen).second > kMaxPixels) {
    refuse(file + ": " + std::to_string(chosen->codecpar->width) + "x" +
           std::to_string(chosen->codecpar->height) + " pixels; the limit is " +
           std::to_string(kMaxPixels) + " in all; scale it down with ffmpeg");
  }
  if (videos > 1) {
    notes.push_back(file + " holds " + std::to_string(videos) + " videos; stream " +
                    std::to_string(chosen->index) + " is read");
  }
  return chosen;
}

Decoder open_decoder(const std::string& file, const AVStream& stream) {
  const AVCodec* codec = avcodec_find_decoder(stream.codecpar->codec_id);
  Decoder decoder(avcodec_alloc_context3(codec));
  if (!decoder) throw std::bad_alloc();
  int failed = avcodec_parameters_to_context(decoder.get(), stream.codecpar);
  decoder->pkt_timebase = stream.time_base;
  decoder->thread_count = 0;  // as many as there are processors
#if LIBAVCODEC_VERSION_MAJOR >= 61
  decoder->thread_type = FF_THREAD_FRAME | FF_THREAD_SLICE;
#else
  decoder->thread_type = FF_THREAD_SLICE;  // threads by frames forget at times what is damaged
#endif
  av_opt_set_int(decoder.get(), "max_pixels", kMaxPixels, 0);
  if (failed >= 0) failed = avcodec_open2(decoder.get(), codec, nullptr);
  if (failed < 0) refuse(file + ": its video can't be decoded (" + words_of(failed) + ")");
  return decoder;
}

std::optional<Turn> turn_of(const AVStream& stream, const AVFrame& picture) {
  const int32_t* matrix = display_matrix(stream, picture);
  return matrix ? turn_of_matrix(matrix) : Turn{};
}
