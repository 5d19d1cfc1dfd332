// mavos-track: follows objects through a video with a bundle.

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <future>
#include <limits>
#include <mavos.hpp>
#include <memory>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/videoio.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "exif.h"
#include "palette_png.h"
#include "picture_folder.h"
#include "video_reader.h"

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kUsage =
    "usage: mavos-track BUNDLE VIDEO --masks PATH [options]\n"
    "\n"
    "Follow objects through a video and write a palette PNG for every frame.\n"
    "\n"
    "  BUNDLE             folder that mavos-export wrote\n"
    "  VIDEO              video file, folder of images, number or device of a camera, or a\n"
    "                     GStreamer pipeline that ends in appsink (it holds a !)\n"
    "  --masks PATH       mask of the first frame, a palette or grey PNG; or a folder of masks\n"
    "                     named as their frames, where later ones add objects\n"
    "  --output DIR       write a palette PNG for every frame here\n"
    "  --overlay FILE     write a video with the objects coloured, .mp4 or .avi\n"
    "  --threads N        CPU threads of each graph (default: all that the process may use)\n"
    "  --provider NAME    ONNX Runtime's execution provider, such as CUDA, or tensorrt-gpu for\n"
    "                     the engines of the bundle (default: CPU)\n"
    "  --max-frames N     stop after this many frames\n"
    "  --save-state FILE  write the memory after the last frame\n";

struct Arguments {
  std::string bundle;
  std::string video;
  fs::path masks;
  fs::path output;
  fs::path overlay;
  fs::path save_state;
  mavos::Options options;
  int64_t max_frames = std::numeric_limits<int64_t>::max();
};

[[noreturn]] void refuse(const std::string& text) { throw std::runtime_error(text); }

int64_t positive(const std::string& option, const std::string& text) {
  int64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size() || number < 1) {
    refuse(option + " " + text + ": expected a number from 1");
  }
  return number;
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments given;
  std::vector<std::string> places;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.rfind("--", 0) != 0) {
      places.push_back(word);
      continue;
    }
    if (i + 1 == words.size()) refuse(word + " needs a value; see mavos-track --help");
    const std::string& value = words[++i];
    if (word == "--masks") given.masks = value;
    else if (word == "--output") given.output = value;
    else if (word == "--overlay") given.overlay = value;
    else if (word == "--save-state") given.save_state = value;
    else if (word == "--provider") given.options.provider = value;
    else if (word == "--max-frames") given.max_frames = positive(word, value);
    else if (word == "--threads") given.options.threads = static_cast<int32_t>(std::min<int64_t>(positive(word, value), 1024));
    else refuse("no option " + word + "; see mavos-track --help");
  }
  if (places.size() != 2) refuse("expected a bundle and a video; see mavos-track --help");
  if (given.masks.empty()) refuse("--masks is missing: the mask of the first frame, a PNG");
  given.bundle = places[0];
  given.video = places[1];
  return given;
}

struct Picture {
  std::string stem;  // names the frame and its mask
  cv::Mat pixels;
  bool red_first = false;  // else blue, as in OpenCV
};

// The frames of a video, one at a time.
class Source {
 public:
  // masks: the given masks, which are no frames.
  Source(const std::string& video, const fs::path& masks) : name_(video) {
    const bool digits = !video.empty() && video.find_first_not_of("0123456789") == video.npos;
    if (video.find('!') != video.npos) {
      capture_.open(video, cv::CAP_GSTREAMER);
    } else if (fs::is_directory(video)) {
      PictureFolder found = find_pictures(video, masks);
      files_ = std::move(found.files);
      notes_ = std::move(found.notes);
      return;
    } else if (fs::is_regular_file(video)) {
      file_.emplace(video);
      return;
    } else if (fs::exists(video)) {
      capture_.open(video);  // a device, such as /dev/video0
    } else if (digits) {
      capture_.open(std::stoi(video), cv::CAP_V4L2);
    } else {
      refuse(video + " does not exist; expected a video file, a folder of images, a camera's number " +
             "or device, or a GStreamer pipeline");
    }
    if (!capture_.isOpened()) refuse(video + " can't be opened as a video");
  }

  double rate() const {
    const double found = file_ ? file_->rate() : capture_.isOpened() ? capture_.get(cv::CAP_PROP_FPS) : 0;
    return found > 0 && found < 1000 ? found : 25;
  }

  std::optional<Picture> next() {
    Picture picture;
    if (!files_.empty()) {
      if (count_ == static_cast<int64_t>(files_.size())) return std::nullopt;
      const fs::path& file = files_[static_cast<size_t>(count_++)];
      // OpenCV turns pictures of some formats only, and which ones depends on its version.
      constexpr int kAsStored = cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION;
      const cv::Mat stored = cv::imread(file.string(), kAsStored);
      if (stored.empty()) refuse(file.string() + " is no picture that can be read");
      const Turn turn = exif_turn(file.string());
      picture = {file.stem().string(), shown(stored, turn), false};
      note_turn(file, turn);
    } else if (file_) {
      auto frame = file_->next();
      if (!frame) return std::nullopt;
      count_ = frame->number + 1;
      picture = {stem_of(frame->number), std::move(frame->rgb), true};
    } else {
      if (!capture_.read(picture.pixels)) return std::nullopt;
      picture.stem = stem_of(count_++);
    }
    if (size_.area() == 0) size_ = picture.pixels.size();
    if (picture.pixels.size() != size_) {
      refuse(name_ + ": frame " + picture.stem + " has another size than the first one");
    }
    return picture;
  }

  // Lines that say how the frames are read, once the first one came; more may come with others.
  std::vector<std::string> notes() const { return file_ ? file_->notes() : notes_; }

  // Lines that say what could not be read; up to the frame of this name if not all were wanted.
  std::vector<std::string> damage(const std::optional<std::string>& last) const {
    if (!file_) return {};
    return file_->damage(last ? std::stoll(*last) : std::numeric_limits<int64_t>::max());
  }

 private:
  // Says how pictures of a folder are turned, each way once.
  void note_turn(const fs::path& file, const Turn& turn) {
    if (std::find(turns_.begin(), turns_.end(), turn) != turns_.end()) return;
    turns_.push_back(turn);
    const bool stored = turn == Turn{};
    if (turns_.size() > 1) {
      notes_.push_back(file.filename().string() + ", unlike images before it, is shown " + words_of(turn) +
                       (stored ? "" : ", as its EXIF block says, and its mask is, too"));
    } else if (!stored) {
      notes_.push_back("images are shown " + words_of(turn) +
                       ", as their EXIF blocks say, and their masks are, too");
    }
  }

  static std::string stem_of(int64_t number) {
    char stem[32];
    std::snprintf(stem, sizeof(stem), "%05lld", static_cast<long long>(number));
    return stem;
  }

  std::string name_;
  std::optional<VideoReader> file_;
  cv::VideoCapture capture_;  // a camera or a pipeline
  std::vector<fs::path> files_;
  std::vector<std::string> notes_;
  std::vector<Turn> turns_;  // of the pictures so far, each once
  cv::Size size_;
  int64_t count_ = 0;
};

// The mask of a frame; of the first one always.
std::optional<Mask> mask_of(const fs::path& masks, const Picture& picture, bool first) {
  const bool folder = fs::is_directory(masks);
  const fs::path file = folder ? masks / (picture.stem + ".png") : masks;
  if (!first && (!folder || !fs::exists(file))) return std::nullopt;
  Mask mask = read_mask(file);
  if (const Turn turn = exif_turn(file.string()); !(turn == Turn{})) {
    refuse(file.string() + ": an EXIF block says that the mask is shown " + words_of(turn) +
           "; save it as it is shown, without EXIF");
  }
  if (mask.height != picture.pixels.rows || mask.width != picture.pixels.cols) {
    refuse(file.string() + ": the mask is " + std::to_string(mask.height) + "x" +
           std::to_string(mask.width) + " but its frame is " + std::to_string(picture.pixels.rows) +
           "x" + std::to_string(picture.pixels.cols));
  }
  return mask;
}

// Writes masks and the overlay, in a thread beside the steps.
class Writer {
 public:
  Writer(const Arguments& given, double rate, std::vector<uint8_t> palette)
      : given_(given), rate_(rate), palette_(std::move(palette)), colors_(colors_of(palette_)) {
    if (!given.output.empty()) fs::create_directories(given.output);
  }

  void write(Picture picture, mavos::Labels labels) {
    if (pending_.valid()) pending_.get();
    pending_ = std::async(std::launch::async, [this, picture = std::move(picture),
                                               labels = std::move(labels)]() mutable {
      draw(picture, labels);
      if (given_.output.empty()) return;
      write_mask(given_.output / (picture.stem + ".png"),
                 {picture.pixels.rows, picture.pixels.cols, std::move(labels), palette_});
    });
  }

  void finish() {
    if (pending_.valid()) pending_.get();
    video_.release();
  }

 private:
  void draw(Picture& picture, const mavos::Labels& labels) {
    if (given_.overlay.empty()) return;
    if (!video_.isOpened()) {
      const int codec = given_.overlay.extension() == ".avi"
                            ? cv::VideoWriter::fourcc('M', 'J', 'P', 'G')
                            : cv::VideoWriter::fourcc('m', 'p', '4', 'v');
      if (!video_.open(given_.overlay.string(), codec, rate_, picture.pixels.size())) {
        refuse("cannot write the video " + given_.overlay.string());
      }
    }
    cv::Mat blended = picture.pixels.clone();
    uint8_t* pixel = blended.ptr();
    for (const uint8_t label : labels) {
      const auto& color = colors_[label];
      if (picture.red_first) std::swap(pixel[0], pixel[2]);
      for (size_t c = 0; c < 3 && label; ++c) {
        pixel[c] = static_cast<uint8_t>((pixel[c] + color[2 - c]) / 2);
      }
      pixel += 3;
    }
    video_.write(blended);
  }

  const Arguments& given_;
  double rate_;
  std::vector<uint8_t> palette_;
  std::array<std::array<uint8_t, 3>, 256> colors_;
  cv::VideoWriter video_;
  std::future<void> pending_;
};

// A frame that was read and prepared in a thread beside the step of the frame before.
struct Ready {
  Picture picture;
  mavos::Frame frame;
};

std::optional<Ready> made_ready(std::optional<Picture> picture, const mavos::Segmenter& segmenter) {
  if (!picture) return std::nullopt;
  const cv::Mat& pixels = picture->pixels;
  const mavos::Image image{pixels.data, pixels.rows, pixels.cols, pixels.step[0],
                           picture->red_first ? MAVOS_RGB8 : MAVOS_BGR8};
  mavos::Frame frame = segmenter.prepare(image);
  return Ready{std::move(*picture), std::move(frame)};
}

int64_t peak_kilobytes() {
  long long peak = 0;
  if (std::FILE* status = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof(line), status)) std::sscanf(line, "VmHWM: %lld", &peak);
    std::fclose(status);
  }
  return peak;
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void say(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) std::fprintf(stderr, "mavos-track: %s\n", line.c_str());
}

int track(const Arguments& given) {
  const auto start = Clock::now();
  std::unique_ptr<Source> source;  // opened while the graphs are loaded
  auto opening = std::async(std::launch::async, [&] {
    source = std::make_unique<Source>(given.video, given.masks);
    return source->next();
  });
  const mavos::Segmenter segmenter(given.bundle, given.options);
  if (!segmenter.about().trained) {
    say({given.bundle + " was exported without a checkpoint: its masks mean nothing"});
  }
  const auto read = [&] { return made_ready(source->next(), segmenter); };
  auto ready = made_ready(opening.get(), segmenter);
  if (!ready) refuse(given.video + " holds no frame");
  const auto known = source->notes();
  say(known);
  const Mask first = *mask_of(given.masks, ready->picture, true);
  mavos::State state = segmenter.start(ready->frame, first.labels);
  Writer writer(given, source->rate(), first.palette);
  std::string last = ready->picture.stem;
  writer.write(ready->picture, first.labels);
  const double to_first = seconds_since(start);
  const auto steps = Clock::now();
  int64_t frames = 1;
  std::future<std::optional<Ready>> coming;
  const auto read_ahead = [&](int64_t taken) {
    if (taken < given.max_frames) coming = std::async(std::launch::async, read);
  };
  read_ahead(frames);
  const auto say_late = [&] {  // when nothing is read beside it
    if (coming.valid()) coming.wait();
    const auto notes = source->notes();
    say({notes.begin() + static_cast<std::ptrdiff_t>(known.size()), notes.end()});
  };
  try {
    while (frames < given.max_frames && (ready = coming.get())) {
      read_ahead(frames + 1);
      const auto mask = mask_of(given.masks, ready->picture, false);
      mavos::Labels labels =
          segmenter.step(ready->frame, state, mask ? mask->labels : mavos::Labels{});
      last = ready->picture.stem;
      writer.write(std::move(ready->picture), std::move(labels));
      ++frames;
    }
    writer.finish();
  } catch (...) {
    say_late();
    throw;
  }
  say_late();
  if (!given.save_state.empty()) state.save(given.save_state.string());
  const double each = seconds_since(steps) / static_cast<double>(std::max<int64_t>(frames - 1, 1));
  std::printf("{\"frames\": %lld, \"objects\": %zu, \"ms_per_frame\": %.2f, "
              "\"seconds_to_first_mask\": %.3f, \"peak_mb\": %lld}\n",
              static_cast<long long>(frames), state.objects().size(), 1000 * each, to_first,
              static_cast<long long>(peak_kilobytes() / 1024));
  const auto damage = source->damage(ready ? std::optional(last) : std::nullopt);
  say(damage);
  return damage.empty() ? 0 : 1;  // as in Python, 1 says that something could not be read
}

}  // namespace

int main(int count, char** words) {
#ifdef __GLIBC__
  // One heap for all threads: else each frame's threads leave freed pieces in heaps of their own.
  mallopt(M_ARENA_MAX, 1);
#endif
  const std::vector<std::string> given(words + 1, words + count);
  if (std::find(given.begin(), given.end(), "--help") != given.end()) {
    std::fputs(kUsage, stdout);
    return 0;
  }
  try {
    return track(parse(given));
  } catch (const std::exception& error) {  // as in Python, 2 says that the input was refused
    std::fprintf(stderr, "mavos-track: %s\n", error.what());
    return 2;
  }
}
