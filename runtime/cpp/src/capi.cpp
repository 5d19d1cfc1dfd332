// The C interface: handles around the classes, and exceptions turned into statuses.

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "error.h"
#include "mavos.h"
#include "segmenter.h"

struct mavos_segmenter {
  mavos::Segmenter inner;
};
struct mavos_frame {
  mavos::Frame inner;
};
struct mavos_state {
  mavos::State inner;
};

namespace {

// Bytes of the UTF-8 character at a place; 0 where there is none, or only a control character.
size_t character(const unsigned char* text) {
  if (text[0] < 0x80) return text[0] >= 0x20 && text[0] != 0x7F ? 1 : 0;
  const size_t size = text[0] >= 0xF0 ? 4 : text[0] >= 0xE0 ? 3 : 2;
  if (text[0] < 0xC2 || text[0] > 0xF4) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((text[i] & 0xC0) != 0x80) return 0;  // a zero at the end, too
  }
  const bool overlong = (text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xF0 && text[1] < 0x90);
  const bool beyond = (text[0] == 0xED && text[1] > 0x9F) || (text[0] == 0xF4 && text[1] > 0x8F);
  return overlong || beyond ? 0 : size;
}

// One line of UTF-8, whatever a file's name or content has brought into it.
void set_text(mavos_error* error, const char* text) {
  if (!error) return;
  char* out = error->text;
  const char* end = out + sizeof(error->text) - 1;
  while (*text != '\0') {
    const size_t size = character(reinterpret_cast<const unsigned char*>(text));
    if (out + std::max<size_t>(size, 1) > end) break;
    if (size == 0) {
      *out++ = *text++ == '\n' ? ' ' : '?';
    } else {
      out = std::copy_n(text, size, out);
      text += size;
    }
  }
  *out = '\0';
}

// Runs a function that may throw; the status that its exception stands for.
template <typename Function>
mavos_status guarded(mavos_error* error, Function function) {
  set_text(error, "");
  try {
    function();
    return MAVOS_OK;
  } catch (const mavos::Error& thrown) {
    set_text(error, thrown.what());
    return thrown.status();
  } catch (const std::bad_alloc&) {
    set_text(error, "out of memory");
    return MAVOS_OUT_OF_MEMORY;
  } catch (const std::exception& thrown) {
    set_text(error, thrown.what());
    return MAVOS_INTERNAL_ERROR;
  } catch (...) {
    set_text(error, "an unknown exception");
    return MAVOS_INTERNAL_ERROR;
  }
}

template <typename... Pointers>
void need(const char* what, const Pointers*... pointers) {
  if (!(... && (pointers != nullptr))) {
    mavos::refuse_input(std::string(what) + ": an argument that is needed is NULL");
  }
}

mavos_options with_defaults(const mavos_options* given) {
  mavos_options options;
  mavos_default_options(&options);
  if (!given) return options;
  if (given->size < sizeof(size_t) || given->size > sizeof(options)) {
    mavos::refuse_input("mavos_options of " + std::to_string(given->size) +
                        " bytes, and this library knows " + std::to_string(sizeof(options)) +
                        "; call mavos_default_options first");
  }
  std::memcpy(&options, given, given->size);
  if (options.threads < 0 || options.threads > 1024) {
    mavos::refuse_input("threads " + std::to_string(options.threads) + ": accepted are 0 to 1024");
  }
  return options;
}

size_t copy_ids(const mavos::Ids& ids, uint8_t* out) {
  if (out) std::copy(ids.begin(), ids.end(), out);
  return ids.size();
}

}  // namespace

extern "C" {

int32_t mavos_abi_version(void) { return MAVOS_ABI_VERSION; }

const char* mavos_version(void) { return MAVOS_VERSION; }

void mavos_default_options(mavos_options* options) {
  if (!options) return;
  *options = mavos_options{};
  options->size = sizeof(mavos_options);
}

mavos_status mavos_open(const char* path, const mavos_options* options,
                        mavos_segmenter** segmenter, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_open", path, segmenter);
    *segmenter = new mavos_segmenter{mavos::Segmenter(path, with_defaults(options))};
  });
}

void mavos_segmenter_free(mavos_segmenter* segmenter) { delete segmenter; }

mavos_status mavos_segmenter_about(const mavos_segmenter* segmenter, mavos_about* about,
                                   mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_segmenter_about", segmenter, about);
    if (about->size < sizeof(size_t) || about->size > sizeof(mavos_about)) {
      mavos::refuse_input("mavos_about of " + std::to_string(about->size) +
                          " bytes; set its size to sizeof(mavos_about)");
    }
    const mavos::Segmenter& inner = segmenter->inner;
    const mavos::Manifest& manifest = inner.bundle().manifest;
    mavos_about found{};
    found.size = about->size;
    found.variant = manifest.variant.c_str();
    found.identity = inner.identity().c_str();
    found.provider = inner.backend().name().c_str();
    const bool tf32 = inner.backend().tf32() && manifest.arithmetic() == "fp32";
    found.arithmetic = tf32 ? "tf32" : manifest.arithmetic().c_str();
    found.trained = manifest.trained;
    found.height = static_cast<int32_t>(manifest.size.height);
    found.width = static_cast<int32_t>(manifest.size.width);
    found.any_size = manifest.dynamic;
    found.memory_gap =
        static_cast<int32_t>(std::min<int64_t>(manifest.memory_gap.value_or(0), INT32_MAX));
    std::memcpy(about, &found, about->size);
  });
}

mavos_status mavos_input_size(const mavos_segmenter* segmenter, int32_t height, int32_t width,
                              int32_t* input_height, int32_t* input_width, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_input_size", segmenter, input_height, input_width);
    if (height < 1 || width < 1) {
      mavos::refuse_input("frame size " + mavos::to_text(mavos::Size{height, width}) +
                          ": both sides are at least 1");
    }
    const mavos::Size size = segmenter->inner.bundle().manifest.input_size({height, width});
    *input_height = static_cast<int32_t>(size.height);
    *input_width = static_cast<int32_t>(size.width);
  });
}

mavos_status mavos_frame_prepare(const mavos_segmenter* segmenter, const mavos_image* image,
                                 mavos_frame** frame, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_frame_prepare", segmenter, image, frame);
    *frame = new mavos_frame{segmenter->inner.prepare(*image)};
  });
}

void mavos_frame_free(mavos_frame* frame) { delete frame; }

mavos_status mavos_start(const mavos_segmenter* segmenter, const mavos_frame* frame,
                         const uint8_t* labels, mavos_state** state, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_start", segmenter, frame, labels, state);
    *state = new mavos_state{segmenter->inner.start(frame->inner, labels)};
  });
}

mavos_status mavos_step(const mavos_segmenter* segmenter, const mavos_frame* frame,
                        const mavos_state* state, const uint8_t* annotation, uint8_t* labels,
                        mavos_state** next, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_step", segmenter, frame, state, labels, next);
    std::string notice;
    *next = new mavos_state{
        segmenter->inner.step(frame->inner, state->inner, annotation, labels, notice)};
    set_text(error, notice.c_str());
  });
}

mavos_status mavos_remove(const mavos_segmenter* segmenter, const mavos_state* state,
                          const uint8_t* ids, size_t count, mavos_state** next,
                          mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_remove", segmenter, state, ids, next);
    *next = new mavos_state{segmenter->inner.remove(state->inner, {ids, ids + count})};
  });
}

mavos_status mavos_state_copy(const mavos_state* state, mavos_state** copy, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_state_copy", state, copy);
    *copy = new mavos_state{state->inner};
  });
}

mavos_status mavos_state_save(const mavos_state* state, const char* path, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_state_save", state, path);
    mavos::save_state(state->inner, path);
  });
}

mavos_status mavos_state_load(const mavos_segmenter* segmenter, const char* path,
                              mavos_state** state, mavos_error* error) {
  return guarded(error, [&] {
    need("mavos_state_load", segmenter, path, state);
    *state = new mavos_state{mavos::load_state(path, segmenter->inner.bundle())};
  });
}

void mavos_state_free(mavos_state* state) { delete state; }

void mavos_state_size(const mavos_state* state, int32_t* height, int32_t* width) {
  *height = static_cast<int32_t>(state->inner.size.height);
  *width = static_cast<int32_t>(state->inner.size.width);
}

int64_t mavos_state_frame(const mavos_state* state) { return state->inner.frame; }

size_t mavos_state_objects(const mavos_state* state, uint8_t* ids) {
  return copy_ids(state->inner.objects(), ids);
}

size_t mavos_state_ids(const mavos_state* state, uint8_t* ids) {
  return copy_ids(state->inner.ids, ids);
}

}  // extern "C"
