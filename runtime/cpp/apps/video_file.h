// Opens the video of a file with FFmpeg's libraries, for its reader.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "turning.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
}

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

// FFmpeg's words for one of its errors.
std::string words_of(int error);

// Whether a container has one of these names; it may have several, with commas between them.
bool is_any(const char* container, std::initializer_list<std::string> names);

// These throw std::runtime_error for what can't be read.
Container open_container(const std::string& file);
// Of several videos the default, then the largest, never a cover; notes say if there are several.
AVStream* video_of(const std::string& file, const AVFormatContext& container,
                   std::vector<std::string>& notes);
Decoder open_decoder(const std::string& file, const AVStream& stream);

// How a picture is turned and mirrored to be shown; none where it is none of the eight ways.
std::optional<Turn> turn_of(const AVStream& stream, const AVFrame& picture);
