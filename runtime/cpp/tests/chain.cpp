// Follows the objects of a clip of raw pictures, as the tests write it, and says how much memory it took.
//
//     mavos_chain BUNDLE CLIP HEIGHT WIDTH FRAMES [RESULTS [PROVIDER]]
//
// CLIP holds frame-0.rgb, frame-1.rgb, ... of HEIGHT x WIDTH x 3 bytes, labels-0.raw, further labels-N.raw
// with annotations of HEIGHT x WIDTH ids, and remove-N with the ids, a byte each, that are removed
// after frame N. Past the last picture the clip runs backwards and forwards without annotations. The
// state goes through a file after every 7th frame. A second thread prepares the frames. Label maps and
// the last state go to RESULTS.

#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <iterator>
#include <string>

#include "mavos.hpp"

namespace {

constexpr long THROUGH_A_FILE = 7;  // frames
constexpr long REPORTS = 10;

std::vector<uint8_t> read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(const std::string &path, const std::vector<uint8_t> &bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

long resident() {  // kB
  std::ifstream file("/proc/self/statm");
  long pages = 0;
  file >> pages >> pages;
  return pages * 4;
}

struct Clip {
  std::string folder;
  int32_t height, width;
  std::vector<std::vector<uint8_t>> frames;

  mavos::Image image(long index) const {
    const long last = static_cast<long>(frames.size()) - 1;
    const long around = last ? index % (2 * last) : 0;
    const long place = around <= last ? around : 2 * last - around;
    return {frames[static_cast<size_t>(place)].data(), height, width, 0, MAVOS_RGB8};
  }
  std::vector<uint8_t> of(const char *kind, long index) const {
    if (index >= static_cast<long>(frames.size())) return {};
    return read(folder + "/" + kind + "-" + std::to_string(index) + (*kind == 'l' ? ".raw" : ""));
  }
};

Clip open(const std::string &folder, int32_t height, int32_t width) {
  Clip clip{folder, height, width, {}};
  while (true) {
    auto bytes = read(folder + "/frame-" + std::to_string(clip.frames.size()) + ".rgb");
    if (bytes.empty()) break;
    if (bytes.size() != static_cast<size_t>(height) * static_cast<size_t>(width) * 3) {
      throw std::runtime_error("a frame of another size in " + folder);
    }
    clip.frames.push_back(std::move(bytes));
  }
  if (clip.frames.empty()) throw std::runtime_error("no frame-0.rgb in " + folder);
  return clip;
}

void follow(const mavos::Segmenter &segmenter, const Clip &clip, long frames,
            const std::string &results) {
  mavos::Labels labels = clip.of("labels", 0);
  mavos::State state = segmenter.start(segmenter.prepare(clip.image(0)), labels);
  const auto prepared = [&](long index) {  // beside the frame before
    if (index == frames) return std::future<mavos::Frame>();
    return std::async(std::launch::async,
                      [&, index] { return segmenter.prepare(clip.image(index)); });
  };
  auto coming = prepared(1);
  const std::string file = (results.empty() ? clip.folder : results) + "/state.safetensors";
  for (long index = 0; index < frames; ++index) {
    if (index > 0) {
      const mavos::Frame frame = coming.get();
      coming = prepared(index + 1);
      labels = segmenter.step(frame, state, clip.of("labels", index));
    }
    if (!results.empty()) write(results + "/labels-" + std::to_string(index) + ".raw", labels);
    const auto gone = clip.of("remove", index);
    if (!gone.empty()) state = segmenter.remove(state, gone);
    if (index % THROUGH_A_FILE == THROUGH_A_FILE - 1) {
      state.save(file);
      state = segmenter.load(file);
    }
    if (index % ((frames + REPORTS - 1) / REPORTS) == 0) {
      std::printf("frame %ld: %ld kB\n", index, resident());
    }
  }
  state.save(file);
}

}  // namespace

int main(int count, char **arguments) {
  if (count < 6 || count > 8) {
    std::fputs("mavos_chain BUNDLE CLIP HEIGHT WIDTH FRAMES [RESULTS [PROVIDER]]\n", stderr);
    return 2;
  }
  try {
    const Clip clip = open(arguments[2], std::stoi(arguments[3]), std::stoi(arguments[4]));
    mavos::Options options;
    options.threads = 1;
    if (count == 8) options.provider = arguments[7];
    const mavos::Segmenter segmenter(arguments[1], options);
    follow(segmenter, clip, std::stol(arguments[5]), count > 6 ? arguments[6] : "");
  } catch (const std::exception &error) {
    std::fprintf(stderr, "mavos_chain: %s\n", error.what());
    return 1;
  }
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  std::printf("peak: %ld kB\n", used.ru_maxrss);
  return 0;
}
