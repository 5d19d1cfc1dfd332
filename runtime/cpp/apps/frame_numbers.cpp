#include "frame_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

namespace {

constexpr size_t kSteps = 200;  // pictures whose distance tells whether the rate is constant
constexpr size_t kFewestSteps = 4;
constexpr int64_t kMostGone = 1000;  // pictures that one hole may have taken

}  // namespace

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
  return damaged_ || holed_ || (silent_ && orderly_ && !waiting_.empty() && waiting_.top() < time);
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

void FrameNumbers::hole() {
  holed_ = true;
  doubted_ = true;
}

std::optional<int64_t> FrameNumbers::picture(std::optional<int64_t> time, bool fields) {
  if (damaged_ && time && last_ && *time <= *last_) return std::nullopt;
  if (orderly_) place(time, fields);
  if (!orderly_) lose(errors_);
  errors_ = 0;
  last_ = time;
  if (!orderly_ && std::exchange(doubted_, false)) unsure_.push_back(next_);
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
  if (!time) {
    orderly_ = false;
    return;
  }
  int64_t missing = 0;
  while (!waiting_.empty() && waiting_.top() < *time) {
    waiting_.pop();
    ++missing;
  }
  if (waiting_.empty() || waiting_.top() != *time) {
    orderly_ = false;
    return;
  }
  waiting_.pop();
  const int64_t taken = gone(*time);
  // The two fields of a picture may have come in two packets.
  if (missing && !taken && !damaged_ && !(silent_ && last_ && !fields)) {
    orderly_ = false;
    return;
  }
  lose(std::max(missing, taken));
}

// Pictures that a hole in the container took before this one, at a constant rate.
int64_t FrameNumbers::gone(int64_t time) {
  if (!last_) return 0;
  const int64_t step = time - *last_;
  if (!holed_) {
    if (steps_.size() < kSteps) steps_.push_back(step);
    return 0;
  }
  double usual = stated_step_.value_or(0);
  double spread = 0;
  if (steps_.size() >= kFewestSteps) {
    const auto [least, most] = std::minmax_element(steps_.begin(), steps_.end());
    spread = static_cast<double>(*most - *least);
    usual = std::accumulate(steps_.begin(), steps_.end(), 0.0) / static_cast<double>(steps_.size());
  }
  const bool known = usual != 0 && spread <= std::max(2.0, usual / 10);
  const double found = known ? std::nearbyint(static_cast<double>(step) / usual) - 1 : 0;
  const bool clock = found > static_cast<double>(kMostGone);  // a larger step is another clock
  if (clock || (doubted_ && !known)) unsure_.push_back(next_);
  doubted_ = false;
  return found > 0 && !clock ? static_cast<int64_t>(found) : 0;
}

void FrameNumbers::lose(int64_t count) {
  for (; count > 0; --count) {
    damaged_ = true;
    lost_.push_back(next_++);
  }
}
