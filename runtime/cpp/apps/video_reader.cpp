#include "video_reader.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <stdexcept>

#include "frame_numbers.h"
#include "outline.h"
#include "shown_picture.h"
#include "video_file.h"

namespace {

constexpr int kRetries = 8;      // errors of reading in a row, after which the rest is given up
constexpr size_t kHeld = 8;      // pictures that wait for earlier ones, once damage came
constexpr int64_t kHeader = 64;  // bytes between packets that lie one behind the other
// Something is missing if a file ends this much before the length it states.
constexpr double kMissingSeconds = 0.5;
constexpr double kMissingShare = 0.01;
constexpr int64_t kSlack = 256;  // bytes that may follow the last packet within its part of a file
constexpr int kErrors = 1000;    // of a decoder, one after the other, after which it is given up
constexpr std::array<const char*, 7> kStreamed{"mpegts", "mpeg", "h264",  "hevc",
                                               "mpegvideo", "m4v", "flv"};

[[noreturn]] void refuse(const std::string& text) { throw std::runtime_error(text); }

std::optional<int64_t> known(int64_t time) {
  return time == AV_NOPTS_VALUE ? std::nullopt : std::optional<int64_t>(time);
}

bool has_fields(const AVFrame& picture) {
#ifdef AV_FRAME_FLAG_INTERLACED
  return (picture.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return picture.interlaced_frame != 0;
#endif
}

int64_t duration_of(const AVFrame& picture) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
  return picture.duration;
#else
  return picture.pkt_duration;
#endif
}

}  // namespace

struct VideoReader::Open {
  explicit Open(const std::string& file)
      : name(file),
        container(open_container(file)),
        stream(video_of(file, *container, notes)),
        decoder(open_decoder(file, *stream)),
        numbers(is_silent(), stated_step()),
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

  // Time between pictures by the rate that the container states.
  std::optional<double> stated_step() const {
    AVRational rate = stream->avg_frame_rate;
    if (rate.num <= 0 || rate.den <= 0) rate = av_guess_frame_rate(container.get(), stream, nullptr);
    if (rate.num <= 0 || rate.den <= 0) return std::nullopt;
    return 1 / (av_q2d(rate) * av_q2d(stream->time_base));
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
    if (far || torn) numbers.hole();
    torn = own && (found.flags & AV_PKT_FLAG_CORRUPT);
    if (found.pos >= 0) read_end = std::max(read_end, found.pos + found.size);
    const int64_t time = found.pts == AV_NOPTS_VALUE ? found.dts : found.pts;
    if (time == AV_NOPTS_VALUE) return;
    const AVRational base = container->streams[found.stream_index]->time_base;
    const double end = static_cast<double>(time + found.duration) * av_q2d(base);
    any_end = std::max(any_end, end);
    if (own) own_end = std::max(own_end, end);
  }

  // Whether the packets end well before the length that the container states.
  bool ends_early() const {
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
    return stated - reached > std::max(kMissingSeconds, kMissingShare * stated);
  }

  // Once all packets were read, finds out whether some are missing at the end.
  void check_end() {
    if (cut || !unread.empty()) return;
    const bool early = ends_early();
    // The reader of Matroska passes over a packet that is not there whole, without a word.
    if (!early && !is_any(container->iformat->name, {"matroska"})) return;
    const auto found = outline_of(name, container->iformat->name);
    if (found ? !found->complete : early) {
      cut = true;
    } else if (early && read_end + kSlack < found->data_end) {
      unread = "its container is damaged";
    }
  }

  // Gives the packet to the decoder; once reading is over, asks for what is left in there.
  void send() {
    const bool shown = !over && !(packet->flags & AV_PKT_FLAG_DISCARD);
    if (shown) numbers.packet(known(packet->pts), is_key(*packet));
    int failed = 0;
    do {
      failed = avcodec_send_packet(decoder.get(), over ? nullptr : packet.get());
    } while (receive() > 0 && failed == AVERROR(EAGAIN));
    if (failed < 0 && failed != AVERROR_EOF) note_error(failed);
  }

  // Takes all pictures that are ready. Behind an error, other threads may hold whole ones.
  size_t receive() {
    const size_t before = arrived.size();
    for (int errors = 0; errors < kErrors;) {
      Picture picture(av_frame_alloc());
      if (!picture) throw std::bad_alloc();
      const int failed = avcodec_receive_frame(decoder.get(), picture.get());
      if (failed == AVERROR(EAGAIN) || failed == AVERROR_EOF) break;
      if (failed >= 0) {
        arrived.push_back(std::move(picture));
      } else {
        note_error(failed);
        ++errors;
      }
    }
    return arrived.size() - before;
  }

  void note_error(int failed) {
    if (first_error.empty()) first_error = words_of(failed);
    numbers.error();
  }

  // Brings pictures into the order in which they are shown, once damage has mixed them up.
  bool take() {
    while (!arrived.empty()) {
      Picture picture = std::move(arrived.front());
      arrived.pop_front();
      if (cut && is_gap(*picture)) {
        arrived.clear();  // a cut also loses frames that belong before the last ones kept
        break;
      }
      last_time = known(picture->pts);
      last_duration = duration_of(*picture);
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

  bool is_gap(const AVFrame& after) const {
    if (!last_time || after.pts == AV_NOPTS_VALUE || last_duration <= 0) return false;
    return static_cast<double>(after.pts - *last_time) > 1.5 * static_cast<double>(last_duration);
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
        if (over) check_end();
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
    const std::optional<Turn> turn = turn_of(*stream, first);
    if (!turn) {
      notes.push_back(name + ": its display matrix is neither quarter turns nor a mirror, and is " +
                      "not applied; frames and masks are those of the stored pictures");
    } else if (!(*turn == Turn{})) {
      notes.push_back(name + " is shown " + words_of(*turn) + ", as its file says, and its masks are, too");
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
  bool torn = false;
  int64_t read_end = 0;  // bytes
  double own_end = 0;    // seconds
  double any_end = 0;
  std::optional<int64_t> last_time;  // of the picture that the decoder gave last
  int64_t last_duration = 0;
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
  const Turn turn = turn_of(*open_->stream, *picture).value_or(Turn{});
  return VideoFrame{number, open_->converter->convert(*picture, turn)};
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
  say(": its container lost data, and no steady rate tells how many frames; re-encode it with ffmpeg "
      "before giving later masks, because numbers may be too low behind ", open_->numbers.unsure());
  if (!open_->unread.empty()) {
    lines.push_back(open_->name + ": from frame " + named({open_->numbers.reached()}) +
                    " on it can't be read (" + open_->unread + ")");
  }
  return lines;
}
