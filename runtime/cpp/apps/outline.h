// Tells from the outline of a video file whether all of it is there, as mavos-run does.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

// By the sizes that the file states.
struct Outline {
  // All that it states lies inside of it; of Matroska, all pictures and sound.
  bool complete = false;
  // Where its pictures and sound end, in bytes; 0 where an index lists every packet.
  int64_t data_end = 0;
};

// None where the format, by FFmpeg's names of it, or the file has no outline to be trusted.
std::optional<Outline> outline_of(const std::string& file, const char* formats);
