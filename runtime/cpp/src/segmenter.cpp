#include "segmenter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "contract.h"
#include "error.h"
#include "open_backend.h"
#include "resize.h"

namespace mavos {

namespace {

size_t pixels_of(const Size& size) { return static_cast<size_t>(size.height * size.width); }

// Refuses labels that can't be followed; returns whether they hold an object.
bool check_labels(const uint8_t* labels, const Size& size) {
  const uint8_t* end = labels + pixels_of(size);
  const auto voids = std::count(labels, end, static_cast<uint8_t>(contract::kVoid));
  if (voids > 0) {
    refuse_input(std::to_string(voids) + " pixels of the labels are " +
                 std::to_string(contract::kVoid) +
                 ", which marks void in DAVIS; set them to 0, or to the id of their object");
  }
  return std::any_of(labels, end, [](uint8_t label) { return label != 0; });
}

void check_image(const mavos_image& image) {
  const bool floats = image.pixels == MAVOS_RGB32F;
  if (!image.data || image.height < 1 || image.width < 1 || image.pixels < MAVOS_RGB8 ||
      image.pixels > MAVOS_RGB32F) {
    refuse_input("a picture of " + std::to_string(image.height) + "x" +
                 std::to_string(image.width) + " and pixels " + std::to_string(image.pixels) +
                 "; expected RGB8, BGR8 or RGB32F, both sides from 1");
  }
  const Size size{image.height, image.width};
  if (size.height * size.width > contract::kMaxPixels) {
    refuse_input("frame size " + to_text(size) + ": the limit is " +
                 std::to_string(contract::kMaxPixels) + " pixels in all");
  }
  const size_t row = static_cast<size_t>(image.width) * 3 * (floats ? sizeof(float) : 1);
  if (image.stride != 0 && image.stride < row) {
    refuse_input("a stride of " + std::to_string(image.stride) + " bytes in a picture whose rows " +
                 "have " + std::to_string(row) + "; give 0 for rows without a gap");
  }
  if (!floats) return;
  const auto* data = static_cast<const uint8_t*>(image.data);
  const size_t stride = image.stride ? image.stride : row;
  for (int32_t line = 0; line < image.height; ++line) {
    const uint8_t* at = data + static_cast<size_t>(line) * stride;
    for (size_t i = 0; i < row; i += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, at + i, sizeof(value));
      if (!std::isfinite(value)) {
        refuse_input("the frame holds values that aren't finite; they would stay in the memory");
      }
    }
  }
}

}  // namespace

Segmenter::Segmenter(const std::string& path, const mavos_options& options)
    : bundle_(Bundle::open(path)),
      graphs_(bundle_, open_backend(bundle_, options)),
      identity_(bundle_.manifest.identity()) {}

Frame Segmenter::prepare(const mavos_image& image) const {
  check_image(image);
  const Size size{image.height, image.width};
  Frame frame{size, resize_frame(image, bundle_.manifest.input_size(size)), nullptr};
  if (backend().concurrent()) {
    frame.encoded = std::make_shared<Encoded>(graphs_.encode(frame.resized), graphs_.backend());
  }
  return frame;
}

State Segmenter::start(const Frame& frame, const uint8_t* labels) const {
  check(frame);
  if (!check_labels(labels, frame.size)) {
    refuse_input("the first frame's labels hold no object; every pixel is 0");
  }
  State state;
  state.bundle = identity_;
  state.size = frame.size;
  state.input_size = bundle_.manifest.input_size(frame.size);
  const Labels internal = number_objects(state.ids, labels, pixels_of(frame.size));
  return reference(features_of(frame), internal, std::move(state), nullptr);
}

State Segmenter::step(const Frame& frame, const State& state, const uint8_t* annotation,
                      uint8_t* labels, std::string& notice) const {
  check(frame);
  check(state);
  if (frame.size != state.size) {
    refuse_input("frame of " + to_text(frame.size) + " in a video of " + to_text(state.size) +
                 "; all frames of a video have one size");
  }
  const size_t pixels = pixels_of(state.size);
  const bool annotated = annotation && check_labels(annotation, frame.size);
  if (annotated) notice = check_room(state);
  Tensors features = features_of(frame);
  Tensors step = graphs_.step(features, state);
  Tensors decoded = graphs_.decode(features, step, state);
  const Tensor predicted = decoded.at("labels");
  if (predicted.bytes() != pixels) refuse_backend("the decoder's labels have another size");
  if (!annotated) {
    const Tensors written = graphs_.write(step, decoded);
    // An update takes most memory, so nothing else of the frame is kept for it.
    for (Tensors* spent : {&features, &step, &decoded}) spent->clear();
    State following = remember(written, state);
    write_own_ids(state.ids, predicted.as_bytes(), pixels, labels);
    return following;
  }
  State following = state;
  Labels merged = number_objects(following.ids, annotation, pixels);
  std::array<bool, 256> corrected{};
  const uint8_t* seen = predicted.as_bytes();
  for (size_t i = 0; i < pixels; ++i) corrected[merged[i]] = true;
  for (size_t i = 0; i < pixels; ++i) {
    following.removed.erase(merged[i]);
    // An annotated object has the annotated pixels alone, and no other object changes.
    const uint8_t before = seen[i];
    if (merged[i] == 0 && (before == 0 || !corrected[before])) merged[i] = before;
  }
  ++following.frame;
  const Ids ids = following.ids;
  following = without_idle_groups(reference(features, merged, std::move(following), &step));
  write_own_ids(ids, merged.data(), pixels, labels);
  return following;
}

State Segmenter::remove(const State& state, const std::vector<uint8_t>& ids) const {
  check(state);
  return without_objects(state, ids);
}

void Segmenter::check(const State& state) const {
  if (state.bundle != identity_) {
    refuse_input("the state belongs to another bundle; start the video with this one");
  }
}

void Segmenter::check(const Frame& frame) const {
  const Size own{frame.resized.shape[1], frame.resized.shape[2]};
  const Size size = bundle_.manifest.input_size(frame.size);
  if (own != size) {
    refuse_input("a frame prepared for a bundle of " + to_text(own) + "; this one is " +
                 to_text(size) + ", so prepare it with this segmenter");
  }
}

std::string Segmenter::check_room(const State& state) const {
  const MemoryRule& rule = bundle_.manifest.memory;
  const bool room = std::all_of(state.updated.begin(), state.updated.end(),
                                [&rule](int64_t entered) { return rule.has_room(entered); });
  if (room) return "";
  const std::string advice = "export the bundle with --memory annotations --slots " +
                             std::to_string(rule.slots + 1) + " or more";
  const std::string name = bundle_.path.string();
  if (rule.slots == 1) {
    refuse_input(name + " keeps the first annotated frame alone, so a mask on a later one would be " +
                 "forgotten after a frame; " + advice);
  }
  return "the memory of " + name + " is full of annotated frames (" + std::to_string(rule.slots) +
         "), so this one replaces the latest late one; to keep more, " + advice;
}

Tensors Segmenter::features_of(const Frame& frame) const {
  auto features = frame.encoded ? frame.encoded->take(graphs_.backend()) : std::nullopt;
  return features ? *std::move(features) : graphs_.encode(frame.resized);
}

State Segmenter::remember(const Tensors& written, const State& state) const {
  State following = state;
  update(following.memory, in_slot(contract::kShort, written));
  ++following.frame;
  ++following.since_update;
  const auto& gap = bundle_.manifest.memory_gap;
  if (gap && following.since_update >= *gap) {
    update(following.memory, graphs_.enter(written, state, state.groups()));
    following = with_write(std::move(following));
  }
  return following;
}

State Segmenter::reference(const Tensors& features, const Labels& labels, State state,
                           const Tensors* seen) const {
  // Whoever was followed is followed until it is removed, also where it is out of sight.
  const int64_t visible =
      std::max<int64_t>(state.visible, *std::max_element(labels.begin(), labels.end()));
  const int64_t groups = std::max(state.groups(), groups_for(visible));
  const Tensors own = {
      {"input_labels", split_groups(labels.data(), state.size, groups, state.input_size)}};
  const Tensors fresh = graphs_.settle(features, own, groups, state.input_size,
                                       groups == state.groups() ? seen : nullptr);
  if (groups > state.groups()) {
    for (const std::string& slot : bundle_.manifest.memory.names()) {
      update(state.memory, with_new_groups(state, in_slot(slot, fresh)));
    }
  }
  update(state.memory, in_slot(contract::kShort, fresh));
  state.visible = visible;
  state.since_update = 0;
  if (state.groups() > 0) {
    update(state.memory, graphs_.enter(fresh, state, groups));
    state = with_write(std::move(state));
  }
  state.updated.resize(static_cast<size_t>(groups), 0);
  return state;
}

}  // namespace mavos
