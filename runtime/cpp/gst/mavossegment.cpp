// The GStreamer element mavossegment: follows objects through a stream and colours them.
//
//     gst-launch-1.0 filesrc location=clip.mp4 ! decodebin ! videoconvert !
//         mavossegment bundle=B masks=first.png ! videoconvert ! autovideosink
//
// `masks` is the mask of the first frame. With output=overlay the objects are coloured in the
// picture, with output=labels a GRAY8 picture of ids replaces it, and with output=metadata the
// picture stays and carries its masks and their boxes. A seek or a flush starts anew at the next
// frame, with the same mask; caps of another size are refused with a message.

#include <gst/base/gstbasetransform.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#include <algorithm>
#include <array>
#include <mavos.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "palette_png.h"

namespace {

enum Property { kBundle = 1, kMasks, kThreads, kProvider, kOutput, kDropLate };
enum Output { kOverlay, kLabels, kMetadata };

// Properties count from when the element gets ready.
constexpr auto kAccess = static_cast<GParamFlags>(G_PARAM_READWRITE | GST_PARAM_MUTABLE_READY);
constexpr const char* kColors = "{ RGB, BGR }";
constexpr const char* kMaskMeta = "MavosMasks";  // custom metadata with the labels of a picture
constexpr const char* kRegionType = "mavos";     // of the box of an object

struct Settings {
  std::string bundle;
  std::string masks;
  std::string provider;
  int threads = 0;
  Output output = kOverlay;
  bool drop_late = false;
};

// What the element holds in C++; made in init and deleted in finalize.
struct Work {
  Settings wanted;  // the properties
  std::mutex lock;  // of the properties
  Settings own;     // what the stream runs with, taken when it starts
  GstVideoInfo info{};
  std::unique_ptr<mavos::Segmenter> segmenter;
  std::optional<mavos::State> state;
  Mask first;
  std::array<std::array<uint8_t, 3>, 256> colors{};
};

}  // namespace

G_BEGIN_DECLS

struct MavosSegment {
  GstBaseTransform parent;
  Work* work;
};
struct MavosSegmentClass {
  GstBaseTransformClass parent;
};

GType mavos_segment_get_type();
G_DEFINE_TYPE(MavosSegment, mavos_segment, GST_TYPE_BASE_TRANSFORM)

G_END_DECLS

namespace {

Work& work_of(gpointer element) { return *reinterpret_cast<MavosSegment*>(element)->work; }

GType output_type() {
  static const GType type = [] {
    static const GEnumValue values[] = {{kOverlay, "The picture with coloured objects", "overlay"},
                                        {kLabels, "A GRAY8 picture of object ids", "labels"},
#if GST_CHECK_VERSION(1, 20, 0)
                                        {kMetadata, "The picture, with masks and boxes as metadata",
                                         "metadata"},
#endif
                                        {0, nullptr, nullptr}};
    return g_enum_register_static("MavosSegmentOutput", values);
  }();
  return type;
}

void set_property(GObject* object, guint id, const GValue* value, GParamSpec* spec) {
  Work& work = work_of(object);
  const std::lock_guard<std::mutex> guard(work.lock);
  Settings& wanted = work.wanted;
  const auto text = [value] {
    const char* given = g_value_get_string(value);
    return std::string(given ? given : "");
  };
  switch (id) {
    case kBundle: wanted.bundle = text(); break;
    case kMasks: wanted.masks = text(); break;
    case kProvider: wanted.provider = text(); break;
    case kThreads: wanted.threads = g_value_get_int(value); break;
    case kOutput: wanted.output = static_cast<Output>(g_value_get_enum(value)); break;
    case kDropLate: wanted.drop_late = g_value_get_boolean(value) != FALSE; break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

void get_property(GObject* object, guint id, GValue* value, GParamSpec* spec) {
  Work& work = work_of(object);
  const std::lock_guard<std::mutex> guard(work.lock);
  const Settings& wanted = work.wanted;
  switch (id) {
    case kBundle: g_value_set_string(value, wanted.bundle.c_str()); break;
    case kMasks: g_value_set_string(value, wanted.masks.c_str()); break;
    case kProvider: g_value_set_string(value, wanted.provider.c_str()); break;
    case kThreads: g_value_set_int(value, wanted.threads); break;
    case kOutput: g_value_set_enum(value, wanted.output); break;
    case kDropLate: g_value_set_boolean(value, wanted.drop_late); break;
    default: G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
  }
}

// Opens the bundle and reads the mask, when the element goes from NULL to READY.
gboolean start(GstBaseTransform* element) {
  Work& work = work_of(element);
  try {
    {
      const std::lock_guard<std::mutex> guard(work.lock);
      work.own = work.wanted;
    }
    if (work.own.bundle.empty() || work.own.masks.empty()) {
      throw std::runtime_error("set the properties bundle and masks");
    }
    mavos::Options options;
    options.threads = work.own.threads;
    options.provider = work.own.provider;
    work.first = read_mask(work.own.masks);
    work.colors = colors_of(work.first.palette);
    work.segmenter = std::make_unique<mavos::Segmenter>(work.own.bundle, options);
    work.state.reset();
    gst_base_transform_set_in_place(element, work.own.output != kLabels);
    return TRUE;
  } catch (const std::exception& error) {
    GST_ELEMENT_ERROR(element, RESOURCE, SETTINGS, ("%s", error.what()), (nullptr));
    return FALSE;
  }
}

gboolean stop(GstBaseTransform* element) {
  Work& work = work_of(element);
  work.state.reset();
  work.segmenter.reset();
  return TRUE;
}

// The caps on the other side: the same size and rate, GRAY8 behind an element that gives labels.
GstCaps* transform_caps(GstBaseTransform* element, GstPadDirection direction, GstCaps* caps,
                        GstCaps* filter) {
  const Work& work = work_of(element);
  GstCaps* other = gst_caps_copy(caps);
  if (work.own.output == kLabels) {
    for (guint i = 0; i < gst_caps_get_size(other); ++i) {
      GstStructure* structure = gst_caps_get_structure(other, i);
      gst_structure_remove_fields(structure, "colorimetry", "chroma-site", nullptr);
      if (direction == GST_PAD_SINK) {
        gst_structure_set(structure, "format", G_TYPE_STRING, "GRAY8", nullptr);
      } else {
        GValue formats = G_VALUE_INIT;
        g_value_init(&formats, GST_TYPE_LIST);
        for (const char* name : {"RGB", "BGR"}) {
          GValue format = G_VALUE_INIT;
          g_value_init(&format, G_TYPE_STRING);
          g_value_set_static_string(&format, name);
          gst_value_list_append_and_take_value(&formats, &format);
        }
        gst_structure_take_value(structure, "format", &formats);
      }
    }
  }
  if (filter) {
    GstCaps* both = gst_caps_intersect_full(filter, other, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref(other);
    return both;
  }
  return other;
}

gboolean set_caps(GstBaseTransform* element, GstCaps* in, GstCaps*) {
  Work& work = work_of(element);
  GstVideoInfo info;
  if (!gst_video_info_from_caps(&info, in)) return FALSE;
  if (info.width != work.first.width || info.height != work.first.height) {
    GST_ELEMENT_ERROR(element, STREAM, FORMAT,
                      ("%s is %dx%d and the stream %dx%d (width x height); give a mask of the "
                       "stream's size",
                       work.own.masks.c_str(), work.first.width, work.first.height, info.width,
                       info.height),
                      (nullptr));
    return FALSE;
  }
  work.info = info;
  return TRUE;
}

gboolean unit_size(GstBaseTransform*, GstCaps* caps, gsize* size) {
  GstVideoInfo info;
  if (!gst_video_info_from_caps(&info, caps)) return FALSE;
  *size = info.size;
  return TRUE;
}

gboolean sink_event(GstBaseTransform* element, GstEvent* event) {
  if (GST_EVENT_TYPE(event) == GST_EVENT_FLUSH_STOP) work_of(element).state.reset();
  return GST_BASE_TRANSFORM_CLASS(mavos_segment_parent_class)->sink_event(element, event);
}

// Whether a frame's time has passed, so that a live pipeline would show it too late.
bool is_late(GstBaseTransform* element, GstBuffer* buffer) {
  GstClock* clock = gst_element_get_clock(GST_ELEMENT(element));
  if (!clock) return false;
  const GstClockTime now = gst_clock_get_time(clock) - gst_element_get_base_time(GST_ELEMENT(element));
  gst_object_unref(clock);
  const GstClockTime due = gst_segment_to_running_time(&element->segment, GST_FORMAT_TIME,
                                                       GST_BUFFER_PTS(buffer));
  const GstClockTime lasts = GST_BUFFER_DURATION_IS_VALID(buffer) ? GST_BUFFER_DURATION(buffer) : 0;
  return GST_CLOCK_TIME_IS_VALID(due) && now > due + lasts;
}

mavos::Labels segment(Work& work, const GstVideoFrame& frame) {
  const bool bgr = GST_VIDEO_FRAME_FORMAT(&frame) == GST_VIDEO_FORMAT_BGR;
  const mavos::Image image{GST_VIDEO_FRAME_PLANE_DATA(&frame, 0), GST_VIDEO_FRAME_HEIGHT(&frame),
                           GST_VIDEO_FRAME_WIDTH(&frame),
                           static_cast<size_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0)),
                           bgr ? MAVOS_BGR8 : MAVOS_RGB8};
  const mavos::Frame prepared = work.segmenter->prepare(image);
  if (work.state) return work.segmenter->step(prepared, *work.state);
  work.state = work.segmenter->start(prepared, work.first.labels);
  return work.first.labels;
}

uint8_t* row_of(GstVideoFrame& frame, size_t row) {
  return static_cast<uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(&frame, 0)) +
         row * static_cast<size_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0));
}

void color(const Work& work, const mavos::Labels& labels, GstVideoFrame& picture) {
  const bool bgr = GST_VIDEO_FRAME_FORMAT(&picture) == GST_VIDEO_FORMAT_BGR;
  const auto width = static_cast<size_t>(work.info.width);
  for (size_t row = 0; row < static_cast<size_t>(work.info.height); ++row) {
    uint8_t* pixel = row_of(picture, row);
    const uint8_t* label = labels.data() + row * width;
    for (size_t column = 0; column < width; ++column, pixel += 3) {
      const auto& color = work.colors[label[column]];
      for (size_t c = 0; c < 3 && label[column]; ++c) {
        pixel[c] = static_cast<uint8_t>((pixel[c] + color[bgr ? 2 - c : c]) / 2);
      }
    }
  }
}

#if GST_CHECK_VERSION(1, 20, 0)
// A box around the pixels of an object.
struct Box {
  guint left = G_MAXUINT;
  guint top = G_MAXUINT;
  guint right = 0;  // the last column and row
  guint bottom = 0;
};

gboolean drop_own(GstBuffer*, GstMeta** meta, gpointer) {
  const bool masks = gst_meta_info_is_custom((*meta)->info) &&
                     gst_custom_meta_has_name(reinterpret_cast<GstCustomMeta*>(*meta), kMaskMeta);
  const bool region =
      (*meta)->info->api == GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE &&
      reinterpret_cast<GstVideoRegionOfInterestMeta*>(*meta)->roi_type ==
          g_quark_from_static_string(kRegionType);
  if (masks || region) *meta = nullptr;
  return TRUE;
}

// Labels as custom metadata, and a region of interest for each object in sight; they take the place
// of those of an earlier element.
void attach(const Work& work, const mavos::Labels& labels, GstBuffer* buffer) {
  gst_buffer_foreach_meta(buffer, drop_own, nullptr);
  std::array<Box, 256> boxes;
  const auto width = static_cast<guint>(work.info.width);
  const auto height = static_cast<guint>(work.info.height);
  const uint8_t* label = labels.data();
  for (guint y = 0; y < height; ++y) {
    for (guint x = 0; x < width; ++x, ++label) {
      if (*label == 0) continue;
      Box& box = boxes[*label];
      box.left = std::min(box.left, x);
      box.top = std::min(box.top, y);
      box.right = std::max(box.right, x);
      box.bottom = y;
    }
  }
  for (size_t id = 1; id < boxes.size(); ++id) {
    const Box& box = boxes[id];
    if (box.top == G_MAXUINT) continue;
    auto* region = gst_buffer_add_video_region_of_interest_meta(
        buffer, kRegionType, box.left, box.top, box.right - box.left + 1, box.bottom - box.top + 1);
    region->id = static_cast<gint>(id);
  }
  GstBuffer* mask = gst_buffer_new_memdup(labels.data(), labels.size());
  GstStructure* fields = gst_custom_meta_get_structure(gst_buffer_add_custom_meta(buffer, kMaskMeta));
  gst_structure_set(fields, "width", G_TYPE_INT, work.info.width, "height", G_TYPE_INT,
                    work.info.height, "labels", GST_TYPE_BUFFER, mask, nullptr);
  gst_buffer_unref(mask);
}

// Hands masks on to a picture that an element made from another one, unless it has another size.
gboolean hand_on(GstBuffer* to, GstCustomMeta* meta, GstBuffer*, GQuark kind, gpointer data,
                 gpointer) {
  if (GST_VIDEO_META_TRANSFORM_IS_SCALE(kind)) {
    const auto& scaling = *static_cast<const GstVideoMetaTransform*>(data);
    if (scaling.in_info->width != scaling.out_info->width ||
        scaling.in_info->height != scaling.out_info->height) {
      return FALSE;
    }
  } else if (!GST_META_TRANSFORM_IS_COPY(kind) ||
             static_cast<const GstMetaTransformCopy*>(data)->region) {
    return FALSE;
  }
  GstStructure* fields = gst_custom_meta_get_structure(gst_buffer_add_custom_meta(to, kMaskMeta));
  const GstStructure* given = gst_custom_meta_get_structure(meta);
  for (const char* name : {"width", "height", "labels"}) {
    gst_structure_set_value(fields, name, gst_structure_get_value(given, name));
  }
  return TRUE;
}

void register_meta() {
  static const gchar* tags[] = {GST_META_TAG_VIDEO_STR, GST_META_TAG_VIDEO_SIZE_STR,
                                GST_META_TAG_VIDEO_ORIENTATION_STR, nullptr};
  gst_meta_register_custom(kMaskMeta, tags, hand_on, nullptr, nullptr);
}
#else
void attach(const Work&, const mavos::Labels&, GstBuffer*) {}
void register_meta() {}
#endif

// Runs `give` with the labels of a frame; errors become messages of the element.
template <typename Give>
GstFlowReturn with_labels(GstBaseTransform* element, GstBuffer* buffer, GstMapFlags access,
                          const Give& give) {
  Work& work = work_of(element);
  // The first frame has the mask, and is never dropped.
  if (work.own.drop_late && work.state && is_late(element, buffer)) {
    return GST_BASE_TRANSFORM_FLOW_DROPPED;
  }
  GstVideoFrame frame;
  // A mapping that holds the buffer would make it one of two owners, and metadata takes one.
  const auto flags = static_cast<GstMapFlags>(access | GST_VIDEO_FRAME_MAP_FLAG_NO_REF);
  if (!gst_video_frame_map(&frame, &work.info, buffer, flags)) return GST_FLOW_ERROR;
  GstFlowReturn flow = GST_FLOW_OK;
  try {
    flow = give(work, segment(work, frame), frame);
  } catch (const std::exception& error) {
    GST_ELEMENT_ERROR(element, STREAM, FAILED, ("%s", error.what()), (nullptr));
    flow = GST_FLOW_ERROR;
  }
  gst_video_frame_unmap(&frame);
  return flow;
}

// A GRAY8 picture of labels in place of a frame.
GstFlowReturn transform(GstBaseTransform* element, GstBuffer* in, GstBuffer* out) {
  const auto write = [out](const Work& work, const mavos::Labels& labels, const GstVideoFrame&) {
    const auto width = static_cast<size_t>(work.info.width);
    GstVideoInfo info;
    gst_video_info_set_format(&info, GST_VIDEO_FORMAT_GRAY8, static_cast<guint>(work.info.width),
                              static_cast<guint>(work.info.height));
    GstVideoFrame picture;
    if (!gst_video_frame_map(&picture, &info, out, GST_MAP_WRITE)) return GST_FLOW_ERROR;
    for (size_t row = 0; row < static_cast<size_t>(work.info.height); ++row) {
      std::copy_n(labels.data() + row * width, width, row_of(picture, row));
    }
    gst_video_frame_unmap(&picture);
    return GST_FLOW_OK;
  };
  return with_labels(element, in, GST_MAP_READ, write);
}

// A frame with its objects coloured, or with their masks as metadata.
GstFlowReturn transform_in_place(GstBaseTransform* element, GstBuffer* buffer) {
  if (work_of(element).own.output == kOverlay) {
    const auto draw = [](const Work& work, const mavos::Labels& labels, GstVideoFrame& frame) {
      color(work, labels, frame);
      return GST_FLOW_OK;
    };
    return with_labels(element, buffer, GST_MAP_READWRITE, draw);
  }
  const auto add = [buffer](const Work& work, const mavos::Labels& labels, const GstVideoFrame&) {
    attach(work, labels, buffer);
    return GST_FLOW_OK;
  };
  return with_labels(element, buffer, GST_MAP_READ, add);
}

void finalize(GObject* object) {
  delete reinterpret_cast<MavosSegment*>(object)->work;
  G_OBJECT_CLASS(mavos_segment_parent_class)->finalize(object);
}

void add_pad(GstElementClass* element, const char* name, GstPadDirection direction,
             const char* formats) {
  const std::string caps = "video/x-raw, format=(string)" + std::string(formats) +
                           ", width=[1,65535], height=[1,65535], framerate=[0/1,2147483647/1]";
  GstCaps* parsed = gst_caps_from_string(caps.c_str());
  gst_element_class_add_pad_template(
      element, gst_pad_template_new(name, direction, GST_PAD_ALWAYS, parsed));
  gst_caps_unref(parsed);
}

GParamSpec* text_property(const char* name, const char* nick, const char* blurb) {
  return g_param_spec_string(name, nick, blurb, "", kAccess);
}

gboolean plugin_init(GstPlugin* plugin) {
  register_meta();
  return gst_element_register(plugin, "mavossegment", GST_RANK_NONE, mavos_segment_get_type());
}

}  // namespace

static void mavos_segment_init(MavosSegment* self) { self->work = new Work; }

static void mavos_segment_class_init(MavosSegmentClass* own) {
  auto* object = G_OBJECT_CLASS(own);
  auto* element = GST_ELEMENT_CLASS(own);
  auto* base = GST_BASE_TRANSFORM_CLASS(own);
  object->set_property = set_property;
  object->get_property = get_property;
  object->finalize = finalize;
  const auto install = [object](guint id, GParamSpec* spec) {
    g_object_class_install_property(object, id, spec);
  };
  install(kBundle, text_property("bundle", "Bundle", "Folder that mavos-export wrote"));
  install(kMasks, text_property("masks", "Masks", "Mask of the first frame, a palette or grey PNG"));
  install(kProvider, text_property("provider", "Provider",
                                   "ONNX Runtime's execution provider, or tensorrt-gpu; "
                                   "empty is the CPU"));
  install(kThreads, g_param_spec_int("threads", "Threads",
                                     "CPU threads of each graph; 0 takes all that there are", 0,
                                     1024, 0, kAccess));
  install(kOutput, g_param_spec_enum("output", "Output", "What leaves the element",
                                     output_type(), kOverlay, kAccess));
  install(kDropLate,
          g_param_spec_boolean("drop-late", "Drop late frames",
                               "Leave out frames of a live source whose time has passed", FALSE,
                               kAccess));
  gst_element_class_set_static_metadata(element, "MAVOS segmenter", "Filter/Effect/Video",
                                        "Follows objects through a video", "mavos-deploy");
  add_pad(element, "sink", GST_PAD_SINK, kColors);
  add_pad(element, "src", GST_PAD_SRC, "{ RGB, BGR, GRAY8 }");
  base->start = start;
  base->stop = stop;
  base->transform_caps = transform_caps;
  base->set_caps = set_caps;
  base->get_unit_size = unit_size;
  base->sink_event = sink_event;
  base->transform = transform;
  base->transform_ip = transform_in_place;
}

#define PACKAGE "mavos"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, mavos, "Video object segmentation",
                  plugin_init, MAVOS_VERSION, "BSD", "mavos-deploy", "mavos-deploy")
