#include "video_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <deque>
#include <stdexcept>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
}

#include "frame_numbers.h"
#include "shown_picture.h"

namespace {

constexpr int64_t kMaxPixels = int64_t{1} << 26;  // as in the library
constexpr int kRetries = 8;      // errors of reading in a row, after which the rest is given up
constexpr size_t kHeld = 8;      // pictures that wait for earlier ones, once damage came
constexpr int64_t kHeader = 64;  // bytes between packets that lie one behind the other
// Something is missing if a file ends this much before the length it states.
constexpr double kMissingSeconds = 0.5;
constexpr double kMissingShare = 0.01;
constexpr std::array<const char*, 7> kStreamed{"mpegts", "mpeg", "h264",  "hevc",
                                               "mpegvideo", "m4v", "flv"};

struct FreeContainer {
  void operator()(AVFormatContext* it) const { avformat_close_input(&it); }
};
struct FreeDecoder {
  void operator()(AVCodecContext* it) const { avcodec_free_context(&it); }
};
struct FreePacket {
  void operator()(AVPacket* it) const { av_packet_free(&it); }
};
struct FreeFrame {
  void operator()(AVFrame* it) const { av_frame_free(&it); }
};
using Container = std::unique_ptr<AVFormatContext, FreeContainer>;
using Decoder = std::unique_ptr<AVCodecContext, FreeDecoder>;
using Packet = std::unique_ptr<AVPacket, FreePacket>;
using Picture = std::unique_ptr<AVFrame, FreeFrame>;

[[noreturn]] void refuse(const std::string& text) { throw std::runtime_error(text); }

std::string words_of(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return text.data();
}

std::optional<int64_t> known(int64_t time) {
  return time == AV_NOPTS_VALUE ? std::nullopt : std::optional<int64_t>(time);
}

// Whether a container has one of these names; it may have several, with commas between them.
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
  decoder->thread_type = FF_THREAD_FRAME | FF_THREAD_SLICE;
  av_opt_set_int(decoder.get(), "max_pixels", kMaxPixels, 0);
  if (failed >= 0) failed = avcodec_open2(decoder.get(), codec, nullptr);
  if (failed < 0) refuse(file + ": its video can't be decoded (" + words_of(failed) + ")");
  return decoder;
}

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

// Quarter turns to the left by which a picture is shown.
int turns_of(const AVStream& stream, const AVFrame& picture) {
  const int32_t* matrix = display_matrix(stream, picture);
  const double angle = matrix ? av_display_rotation_get(matrix) : 0;
  if (std::isnan(angle)) return 0;
  return (static_cast<int>(std::lround(angle / 90)) % 4 + 4) % 4;
}

bool has_fields(const AVFrame& picture) {
#ifdef AV_FRAME_FLAG_INTERLACED
  return (picture.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return picture.interlaced_frame != 0;
#endif
}

}  // namespace

struct VideoReader::Open {
  explicit Open(const std::string& file)
      : name(file),
        container(open_container(file)),
        stream(video_of(file, *container, notes)),
        decoder(open_decoder(file, *stream)),
        numbers(is_silent()),
        packet(av_packet_alloc()) {
    if (!packet) throw std::bad_alloc();
  }

  // Decoders that leave out what they can't show without an error. The times of AVI count packets.
  bool is_silent() const {
    const AVCodecID id = decoder->codec_id;
    return !is_any(container->iformat->name, {"avi"}) &&
           (id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_VP9 ||
            id == AV_CODEC_ID_AV1);
  }

  // In recordings of these kinds, what is before the first key frame is no damage.
  bool is_key(const AVPacket& found) const {
    if (found.flags & AV_PKT_FLAG_KEY) return true;
    const bool streamed = std::any_of(kStreamed.begin(), kStreamed.end(), [&](const char* kind) {
      return is_any(container->iformat->name, {kind});
    });
    return !numbers.begun() && !streamed;
  }

  bool read_packet() {
    for (int failures = 0; failures < kRetries;) {
      av_packet_unref(packet.get());
      const int failed = av_read_frame(container.get(), packet.get());
      if (failed == AVERROR_EOF) return false;
      if (failed < 0) {
        unread = words_of(failed);
        ++failures;
        continue;
      }
      failures = 0;
      unread.clear();  // reading went on behind an error
      if (packet->size == 0) continue;
      const bool own = packet->stream_index == stream->index;
      // A transport stream may end inside a packet; elsewhere the file was cut off there.
      if (own && (packet->flags & AV_PKT_FLAG_CORRUPT) && !is_any(container->iformat->name, {"mpegts"})) {
        cut = true;
        return false;
      }
      note_place(*packet, own);
      if (own) return true;
    }
    return false;
  }

  void note_place(const AVPacket& found, bool own) {
    // If something follows, a torn packet was not the end of a recording.
    const bool far = read_end > 0 && found.pos > read_end + kHeader &&
                     is_any(container->iformat->name, {"matroska", "webm", "flv"});
    if (far || torn) holes.push_back(numbers.reached());
    torn = own && (found.flags & AV_PKT_FLAG_CORRUPT);
    if (found.pos >= 0) read_end = std::max(read_end, found.pos + found.size);
    const int64_t time = found.pts == AV_NOPTS_VALUE ? found.dts : found.pts;
    if (time == AV_NOPTS_VALUE) return;
    const AVRational base = container->streams[found.stream_index]->time_base;
    const double end = static_cast<double>(time + found.duration) * av_q2d(base);
    any_end = std::max(any_end, end);
    if (own) own_end = std::max(own_end, end);
  }

  // Notes where the packets end well before the length that the container states.
  void check_length() {
    const char* kind = container->iformat->name;
    double stated = 0;
    double reached = own_end;
    if (is_any(kind, {"mp4"}) && stream->duration != AV_NOPTS_VALUE) {
      const int64_t start = stream->start_time == AV_NOPTS_VALUE ? 0 : stream->start_time;
      stated = static_cast<double>(start + stream->duration) * av_q2d(stream->time_base);
    } else if (is_any(kind, {"avi"}) && stream->avg_frame_rate.num > 0) {
      stated = static_cast<double>(stream->nb_frames) / av_q2d(stream->avg_frame_rate);
    } else if (is_any(kind, {"matroska", "flv"}) && container->duration > 0) {
      stated = static_cast<double>(container->duration) / AV_TIME_BASE;
      reached = any_end;  // sound may be the longer one
    }
    if (stated - reached <= std::max(kMissingSeconds, kMissingShare * stated)) return;
    std::array<char, 80> text{};
    std::snprintf(text.data(), text.size(), "it states %.1f seconds and ends after %.1f", stated, reached);
    unread = text.data();
  }

  void send() {
    const bool shown = packet->data && !(packet->flags & AV_PKT_FLAG_DISCARD);
    if (shown) numbers.packet(known(packet->pts), is_key(*packet));
    int failed = avcodec_send_packet(decoder.get(), packet->data ? packet.get() : nullptr);
    while (failed >= 0) {
      Picture picture(av_frame_alloc());
      if (!picture) throw std::bad_alloc();
      failed = avcodec_receive_frame(decoder.get(), picture.get());
      if (failed >= 0) arrived.push_back(std::move(picture));
    }
    if (failed == AVERROR(EAGAIN) || failed == AVERROR_EOF) return;
    if (first_error.empty()) first_error = words_of(failed);
    numbers.error();
  }

  // Brings pictures into the order in which they are shown, once damage has mixed them up.
  bool take() {
    while (!arrived.empty()) {
      Picture picture = std::move(arrived.front());
      arrived.pop_front();
      const auto time = known(picture->pts);
      const bool waits = time && (!held.empty() || numbers.misses(*time));
      const auto place = !waits ? held.begin()
                                : std::find_if(held.begin(), held.end(), [&](const Picture& other) {
                                    return other->pts > picture->pts;
                                  });
      held.insert(place, std::move(picture));
      if (!waits || held.size() > kHeld) return true;
    }
    return over && !held.empty();
  }

  // The next picture, with its number.
  std::optional<std::pair<int64_t, Picture>> picture() {
    while (true) {
      while (!take()) {
        if (over) {
          if (!cut) numbers.end();
          return std::nullopt;
        }
        over = !read_packet();
        if (over) {
          av_packet_unref(packet.get());
          if (!cut && unread.empty()) check_length();
        }
        send();
      }
      Picture first = std::move(held.front());
      held.pop_front();
      const auto number = numbers.picture(known(first->pts), has_fields(*first));
      if (!number) continue;
      if (first->decode_error_flags || (first->flags & AV_FRAME_FLAG_CORRUPT)) flawed.push_back(*number);
      return std::make_pair(*number, std::move(first));
    }
  }

  void prepare(const AVFrame& first) {
    constexpr std::array<const char*, 4> kTurned{"", "90 degrees to the left", "180 degrees",
                                                 "90 degrees to the right"};
    if (const int turns = turns_of(*stream, first)) {
      notes.push_back(name + " is shown turned by " + kTurned[static_cast<size_t>(turns)] +
                      ", as its file says, and its masks are, too");
    }
    AVRational aspect = av_guess_sample_aspect_ratio(container.get(), stream, nullptr);
    if (aspect.num == 0) aspect = decoder->sample_aspect_ratio;
    converter = std::make_unique<PictureConverter>(
        name, aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1);
  }

  std::string name;
  std::vector<std::string> notes;
  Container container;
  AVStream* stream;
  Decoder decoder;
  FrameNumbers numbers;
  Packet packet;
  std::unique_ptr<PictureConverter> converter;  // known with the first picture
  std::deque<Picture> arrived;                  // from the decoder
  std::deque<Picture> held;                     // in the order of their times
  std::vector<int64_t> flawed;
  std::string first_error;
  std::string unread;  // why the rest of the file isn't read
  std::vector<int64_t> holes;  // numbers of the frames before which the container lost data
  bool torn = false;
  int64_t read_end = 0;  // bytes
  double own_end = 0;    // seconds
  double any_end = 0;
  bool over = false;  // no packet will follow
  bool cut = false;
};

VideoReader::VideoReader(const std::string& file) : open_(std::make_unique<Open>(file)) {}
VideoReader::~VideoReader() = default;
VideoReader::VideoReader(VideoReader&&) noexcept = default;

double VideoReader::rate() const {
  const AVRational rate = av_guess_frame_rate(open_->container.get(), open_->stream, nullptr);
  return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
}

std::optional<VideoFrame> VideoReader::next() {
  auto found = open_->picture();
  if (!found) {
    const bool nothing = !open_->converter && !open_->first_error.empty();
    if (open_->cut || nothing) {
      char number[24];
      std::snprintf(number, sizeof(number), "%05lld", static_cast<long long>(open_->numbers.reached()));
      refuse(open_->name + ": " +
             (open_->cut ? "the file is cut off" : "damaged (" + open_->first_error + ")") +
             " at frame " + number + "; get a whole copy, or re-encode what is left of it with ffmpeg");
    }
    return std::nullopt;
  }
  auto& [number, picture] = *found;
  if (!open_->converter) {
    if (number > 0) {
      refuse(open_->name + ": damaged, and the first whole frame is " + named({number}) +
             "; re-encode what is whole of it with ffmpeg, and give the mask of that frame");
    }
    open_->prepare(*picture);
  }
  return VideoFrame{number, open_->converter->convert(*picture, turns_of(*open_->stream, *picture))};
}

const std::vector<std::string>& VideoReader::notes() const { return open_->notes; }

std::vector<std::string> VideoReader::damage(int64_t last) const {
  std::vector<std::string> lines;
  const auto say = [&](const char* what, std::vector<int64_t> frames) {
    frames.erase(std::remove_if(frames.begin(), frames.end(), [&](int64_t n) { return n > last; }),
                 frames.end());
    if (frames.empty()) return;
    lines.push_back(open_->name + what + "frame" + (frames.size() > 1 ? "s " : " ") + named(frames));
  };
  say(": damaged and left out: ", open_->numbers.lost());
  say(": damaged, shown as far as possible: ", open_->flawed);
  say(": its container lost data, so that later numbers may be too low, about ", open_->holes);
  if (!open_->unread.empty()) {
    lines.push_back(open_->name + ": from frame " + named({open_->numbers.reached()}) +
                    " on it can't be read (" + open_->unread + ")");
  }
  return lines;
}
