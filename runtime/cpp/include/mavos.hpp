// Wraps the C interface of mavos.h for C++17; header only, so that its exceptions are the caller's.
//
//     mavos::Segmenter segmenter("mobilenet-481x849");
//     mavos::State state = segmenter.start(segmenter.prepare(first), first_labels);
//     for (const mavos::Image& image : images) {
//       std::vector<uint8_t> labels = segmenter.step(segmenter.prepare(image), state);
//       ...
//     }
#ifndef MAVOS_HPP
#define MAVOS_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mavos.h"

namespace mavos {

// An error of the library, with its status.
class Failure : public std::runtime_error {
 public:
  Failure(mavos_status status, const char *text) : std::runtime_error(text), status_(status) {}
  mavos_status status() const { return status_; }

 private:
  mavos_status status_;
};

using Image = mavos_image;
using Labels = std::vector<uint8_t>;  // height x width ids

namespace detail {

struct Free {
  void operator()(mavos_segmenter *it) const { mavos_segmenter_free(it); }
  void operator()(mavos_frame *it) const { mavos_frame_free(it); }
  void operator()(mavos_state *it) const { mavos_state_free(it); }
};

// Calls a function of the C interface with its arguments and an error.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
  mavos_error error;
  const mavos_status status = function(arguments..., &error);
  if (status != MAVOS_OK) throw Failure(status, error.text);
}

}  // namespace detail

// A checked and resized frame, on the CPU encoded.
class Frame {
 public:
  explicit Frame(mavos_frame *owned) : handle_(owned) {}
  const mavos_frame *handle() const { return handle_.get(); }

 private:
  std::unique_ptr<mavos_frame, detail::Free> handle_;
};

// The state of a video, a value: copies are cheap, and each goes its own way.
class State {
 public:
  explicit State(mavos_state *owned) : handle_(owned) {}
  State(const State &other) : handle_(copied(other.handle())) {}
  State(State &&) = default;
  State &operator=(State other) {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~State() = default;

  const mavos_state *handle() const { return handle_.get(); }

  // Height and width of the video's frames, in pixels.
  std::pair<int32_t, int32_t> size() const {
    std::pair<int32_t, int32_t> found;
    mavos_state_size(handle(), &found.first, &found.second);
    return found;
  }
  int64_t frame() const { return mavos_state_frame(handle()); }
  // Ids of the objects being followed.
  std::vector<uint8_t> objects() const {
    std::vector<uint8_t> ids(255);
    ids.resize(mavos_state_objects(handle(), ids.data()));
    return ids;
  }
  // Writes a file that Python reads as well.
  void save(const std::string &path) const {
    detail::call(mavos_state_save, handle(), path.c_str());
  }

 private:
  static mavos_state *copied(const mavos_state *state) {
    mavos_state *copy = nullptr;
    detail::call(mavos_state_copy, state, &copy);
    return copy;
  }

  std::unique_ptr<mavos_state, detail::Free> handle_;
};

struct Options {
  int32_t threads = 0;    // 0 takes all that this process may
  std::string provider;   // such as "CUDA" or "tensorrt-gpu"; empty is the CPU
  std::vector<std::pair<std::string, std::string>> provider_options;
  bool allow_cpu_nodes = false;
};

// An open bundle. Its functions may run in several threads at once.
class Segmenter {
 public:
  explicit Segmenter(const std::string &path, const Options &options = {}) {
    std::vector<const char *> pairs;
    for (const auto &[name, value] : options.provider_options) {
      pairs.push_back(name.c_str());
      pairs.push_back(value.c_str());
    }
    pairs.push_back(nullptr);
    mavos_options plain;
    mavos_default_options(&plain);
    plain.threads = options.threads;
    plain.provider = options.provider.empty() ? nullptr : options.provider.c_str();
    plain.provider_options = pairs.data();
    plain.allow_cpu_nodes = options.allow_cpu_nodes ? 1 : 0;
    mavos_segmenter *opened = nullptr;
    detail::call(mavos_open, path.c_str(), &plain, &opened);
    handle_.reset(opened);
  }

  const mavos_segmenter *handle() const { return handle_.get(); }

  mavos_about about() const {
    mavos_about found{};
    found.size = sizeof(found);
    detail::call(mavos_segmenter_about, handle(), &found);
    return found;
  }

  Frame prepare(const Image &image) const {
    mavos_frame *frame = nullptr;
    detail::call(mavos_frame_prepare, handle(), &image, &frame);
    return Frame(frame);
  }

  // Begins a video; `labels` has the size of the frame's picture.
  State start(const Frame &frame, const Labels &labels) const {
    mavos_state *state = nullptr;
    detail::call(mavos_start, handle(), frame.handle(), labels.data(), &state);
    return State(state);
  }

  // Segments the next frame and moves the state on; `annotation` may be empty.
  Labels step(const Frame &frame, State &state, const Labels &annotation = {}) const {
    const auto [height, width] = state.size();
    Labels labels(static_cast<size_t>(height) * static_cast<size_t>(width));
    if (!annotation.empty() && annotation.size() != labels.size()) {
      throw Failure(MAVOS_INPUT_ERROR, "an annotation of another size than the video's frames");
    }
    mavos_state *next = nullptr;
    detail::call(mavos_step, handle(), frame.handle(), state.handle(),
                 annotation.empty() ? nullptr : annotation.data(), labels.data(), &next);
    state = State(next);
    return labels;
  }

  State remove(const State &state, const std::vector<uint8_t> &ids) const {
    mavos_state *next = nullptr;
    const uint8_t none = 0;
    detail::call(mavos_remove, handle(), state.handle(), ids.empty() ? &none : ids.data(),
                 ids.size(), &next);
    return State(next);
  }

  State load(const std::string &path) const {
    mavos_state *state = nullptr;
    detail::call(mavos_state_load, handle(), path.c_str(), &state);
    return State(state);
  }

 private:
  std::unique_ptr<mavos_segmenter, detail::Free> handle_;
};

}  // namespace mavos

#endif  // MAVOS_HPP
