// Runs a GStreamer pipeline and prints what its frames carry.
//
//     mavos_gst PIPELINE [FRAMES]
//
// The pipeline ends in `fakesink name=out`. A line for each frame: its time in milliseconds,
// `widthxheight:checksum` of its labels (64 bits of FNV-1a), and `id:left,top,width,height` of each
// object. After FRAMES frames the pipeline is sought back to its start, once.

#include <gst/gst.h>
#include <gst/video/video.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<int> frames{0};

uint64_t checksum(const uint8_t* bytes, gsize count) {
  uint64_t sum = 14695981039346656037U;
  for (gsize i = 0; i < count; ++i) sum = (sum ^ bytes[i]) * 1099511628211U;
  return sum;
}

void print_labels(GstBuffer* buffer) {
  GstCustomMeta* meta = gst_buffer_get_custom_meta(buffer, "MavosMasks");
  GstBuffer* labels = nullptr;
  gint width = 0;
  gint height = 0;
  if (!meta || !gst_structure_get(gst_custom_meta_get_structure(meta), "width", G_TYPE_INT, &width,
                                  "height", G_TYPE_INT, &height, "labels", GST_TYPE_BUFFER, &labels,
                                  nullptr)) {
    std::printf(" none");
    return;
  }
  GstMapInfo map;
  if (gst_buffer_map(labels, &map, GST_MAP_READ)) {
    std::printf(" %dx%d:%016" PRIx64, width, height, checksum(map.data, map.size));
    gst_buffer_unmap(labels, &map);
  }
  gst_buffer_unref(labels);
}

void print_frame(GstElement*, GstBuffer* buffer, GstPad*, gpointer) {
  std::printf("%" PRIu64, GST_BUFFER_PTS(buffer) / GST_MSECOND);
  print_labels(buffer);
  gpointer next = nullptr;
  while (GstMeta* meta = gst_buffer_iterate_meta_filtered(
             buffer, &next, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE)) {
    const auto* box = reinterpret_cast<GstVideoRegionOfInterestMeta*>(meta);
    std::printf(" %d:%u,%u,%u,%u", box->id, box->x, box->y, box->w, box->h);
  }
  std::printf("\n");
  ++frames;
}

}  // namespace

int main(int count, char** words) {
  gst_init(nullptr, nullptr);
  GError* error = nullptr;
  GstElement* pipeline = count > 1 ? gst_parse_launch(words[1], &error) : nullptr;
  if (!pipeline || error) {
    std::fprintf(stderr, "%s\n", error ? error->message : "usage: mavos_gst PIPELINE [FRAMES]");
    return 2;
  }
  int seek_after = count > 2 ? std::atoi(words[2]) : 0;
  GstElement* out = gst_bin_get_by_name(GST_BIN(pipeline), "out");
  if (!out) {
    std::fprintf(stderr, "the pipeline has no sink of the name out\n");
    return 2;
  }
  g_object_set(out, "signal-handoffs", TRUE, nullptr);
  g_signal_connect(out, "handoff", G_CALLBACK(print_frame), nullptr);
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  GstBus* bus = gst_element_get_bus(pipeline);
  const auto ends = static_cast<GstMessageType>(GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  GstMessage* message = nullptr;
  int status = 0;
  while (!(message = gst_bus_timed_pop_filtered(bus, 5 * GST_MSECOND, ends))) {
    if (seek_after == 0 || frames < seek_after) continue;
    seek_after = 0;
    if (!gst_element_seek_simple(pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0)) {
      std::fprintf(stderr, "the pipeline can't be sought\n");
      status = 1;
    }
  }
  if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error(message, &error, nullptr);
    std::fprintf(stderr, "%s\n", error->message);
    g_error_free(error);
    status = 1;
  }
  gst_message_unref(message);
  gst_object_unref(bus);
  gst_object_unref(out);
  gst_element_set_state(pipeline, GST_STATE_NULL);
  gst_object_unref(pipeline);
  return status;
}
