#include "frame_numbers.h"

#include <cstdio>

std::string named(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    char span[64];
    std::snprintf(span, sizeof(span), last > i ? "%05lld to %05lld" : "%05lld",
                  static_cast<long long>(numbers[i]), static_cast<long long>(numbers[last]));
    if (!text.empty()) text += ", ";
    text += span;
    i = last;
  }
  return text;
}

bool FrameNumbers::misses(int64_t time) const {
  return damaged_ || (silent_ && orderly_ && !waiting_.empty() && waiting_.top() < time);
}

void FrameNumbers::packet(std::optional<int64_t> time, bool key) {
  if (!begun_) {
    if (!key) return;
    begun_ = true;
    first_ = time;
  }
  if (!time || !first_) {
    orderly_ = false;
  } else if (*time >= *first_) {
    waiting_.push(*time);
  }
}

void FrameNumbers::error() {
  if (!begun_) return;  // at the start of a recording, what comes before a key frame is no damage
  damaged_ = true;
  ++errors_;
}

std::optional<int64_t> FrameNumbers::picture(std::optional<int64_t> time, bool fields) {
  if (damaged_ && time && last_ && *time <= *last_) return std::nullopt;
  if (orderly_) place(time, fields);
  if (!orderly_) lose(errors_);
  errors_ = 0;
  last_ = time;
  return next_++;
}

void FrameNumbers::end() {
  if (!orderly_) {
    lose(errors_);
  } else if (damaged_ || silent_) {
    lose(static_cast<int64_t>(waiting_.size()));
  }
  errors_ = 0;
  waiting_ = {};
}

// Finds the picture's packet, and those before it that became nothing.
void FrameNumbers::place(std::optional<int64_t> time, bool fields) {
  int64_t missing = 0;
  while (time && !waiting_.empty() && waiting_.top() < *time) {
    waiting_.pop();
    ++missing;
  }
  if (!time || waiting_.empty() || waiting_.top() != *time) {
    orderly_ = false;
    return;
  }
  waiting_.pop();
  // The two fields of a picture may have come in two packets.
  if (missing && !damaged_ && !(silent_ && last_ && !fields)) {
    orderly_ = false;
    return;
  }
  lose(missing);
}

void FrameNumbers::lose(int64_t count) {
  for (; count > 0; --count) {
    damaged_ = true;
    lost_.push_back(next_++);
  }
}
