#include "picture_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <set>
#include <stdexcept>

#include "picture_order.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kFew = 64;    // colours of a picture up to which it looks like a mask
constexpr size_t kListed = 5;  // names that a line gives before it only counts
constexpr int kRows = 256;     // rows of a picture that are looked at
constexpr double kFlat = 0.9;  // share of pixels like their neighbour from which it looks drawn
const std::set<std::string> kSuffixes = {".png", ".jpg", ".jpeg", ".bmp", ".webp"};
const std::set<std::string> kLossless = {".png", ".bmp", ".webp"};
const std::set<std::string> kOthers = {".jpe", ".jfif", ".tif", ".tiff", ".ppm",  ".pgm", ".pbm",
                                       ".pnm", ".avif", ".heic", ".heif", ".hif", ".gif", ".tga"};
const std::set<std::string> kMaskWords = {"mask",       "masks",       "label", "labels",
                                          "annotation", "annotations", "seg",   "segmentation"};

using Paths = std::vector<fs::path>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string suffix_of(const fs::path& file) {
  std::string suffix = file.extension().string();
  std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return suffix;
}

// A name with # for each number.
std::string shape_of(const fs::path& file) {
  std::string shape;
  for (const char c : file.stem().string()) {
    if (!is_digit(c)) shape += c;
    else if (shape.empty() || shape.back() != '#') shape += '#';
  }
  return shape;
}

// Whether a name is that of a mask, as `frame_0_mask` and `labels`.
bool has_word(const fs::path& file) {
  std::string word;
  for (const char c : file.stem().string() + ".") {
    if (std::isalpha(static_cast<unsigned char>(c))) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else {
      if (kMaskWords.count(word)) return true;
      word.clear();
    }
  }
  return false;
}

bool has_number(const fs::path& file) {
  const std::string stem = file.stem().string();
  return std::any_of(stem.begin(), stem.end(), is_digit);
}

std::string content_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

struct Look {
  size_t colours = 0;  // as far as kFew and one more; 0 for no picture
  double flat = 1;     // share of pixels that are equal to their neighbour
};

Look look_at(const fs::path& file) {
  const cv::Mat picture = cv::imread(file.string(), cv::IMREAD_COLOR);
  std::set<std::array<uint8_t, 3>> colours;
  size_t same = 0;
  size_t pairs = 0;
  for (int row = 0; row < picture.rows; row += std::max(1, picture.rows / kRows)) {
    const auto* pixels = picture.ptr<cv::Vec3b>(row);
    for (int x = 0; x < picture.cols; ++x) {
      const auto& pixel = pixels[x];
      if (x) {
        ++pairs;
        same += pixel == pixels[x - 1];
      }
      if (colours.size() <= kFew) colours.insert({pixel[0], pixel[1], pixel[2]});
    }
  }
  return {colours.size(), pairs ? static_cast<double>(same) / static_cast<double>(pairs) : 1};
}

bool looks_like_mask(const Look& look) { return look.colours > 1 && look.colours <= kFew; }

// Whether a PNG holds grey levels or indices of a palette, and no colours.
bool is_png_of_ids(const fs::path& file) {
  std::array<char, 26> head{};  // as far as the type of the colours
  std::ifstream stream(file, std::ios::binary);
  if (suffix_of(file) != ".png" || !stream.read(head.data(), head.size())) return false;
  const bool is_png = std::string(&head[1], 3) == "PNG";
  return is_png && head[24] <= 8 && (head[25] == 0 || head[25] == 3);
}

bool in_colours(const fs::path& file) {
  return !is_png_of_ids(file) && cv::imread(file.string(), cv::IMREAD_UNCHANGED).channels() > 1;
}

std::string listed(const Paths& files) {
  std::string text;
  for (size_t i = 0; i < files.size() && i < kListed; ++i) {
    text += (i ? ", " : "") + files[i].filename().string();
  }
  if (files.size() > kListed) text += " and " + std::to_string(files.size() - kListed) + " more";
  return text;
}

// Takes copies of the given masks out of the files.
Paths without_given(Paths& files, const fs::path& masks) {
  std::map<uintmax_t, Paths> given;
  std::map<fs::path, size_t> hashes;  // of contents, which would fill the memory
  const auto add = [&](const fs::path& file) {
    if (fs::is_regular_file(file)) given[fs::file_size(file)].push_back(file);
  };
  if (fs::is_directory(masks)) {
    for (const auto& entry : fs::directory_iterator(masks)) {
      if (kLossless.count(suffix_of(entry.path()))) add(entry.path());
    }
  } else {
    add(masks);
  }
  const auto is_given = [&](const fs::path& file) {
    const auto alike = given.find(fs::file_size(file));
    if (alike == given.end()) return false;
    const std::string content = content_of(file);
    if (content.empty()) return false;  // or it can't be read
    const size_t hash = std::hash<std::string>{}(content);
    return std::any_of(alike->second.begin(), alike->second.end(), [&](const fs::path& mask) {
      const auto [known, is_new] = hashes.try_emplace(mask);
      if (is_new) known->second = std::hash<std::string>{}(content_of(mask));
      return known->second == hash && content_of(mask) == content;
    });
  };
  const auto found = std::stable_partition(files.begin(), files.end(),
                                           [&](const fs::path& file) { return !is_given(file); });
  const Paths left(found, files.end());
  files.erase(found, files.end());
  return left;
}

// Pictures that may be masks: those named otherwise than most with a word such as `mask`, without
// a number, of few colours, of areas of one colour, or without colours among frames that have them;
// and one of few colours that its kind tells from the others.
Paths may_be_masks(const Paths& files) {
  Paths plain;
  std::copy_if(files.begin(), files.end(), std::back_inserter(plain),
               [](const fs::path& file) { return !has_word(file); });
  if (plain.empty()) plain = files;
  std::map<std::string, Paths> shapes;
  for (const auto& file : plain) shapes[shape_of(file)].push_back(file);
  const auto most =
      std::max_element(shapes.begin(), shapes.end(), [](const auto& one, const auto& other) {
        return one.second.size() < other.second.size();
      });
  const bool alike = most->second.size() > 1 && 2 * most->second.size() > plain.size();
  const Paths& usual = alike ? most->second : plain;
  const std::set<fs::path> taken(usual.begin(), usual.end());
  Paths odd;
  if (alike && usual.size() > 2) {
    Paths lossless, others;
    for (const auto& file : usual) {
      (kLossless.count(suffix_of(file)) ? lossless : others).push_back(file);
    }
    if (lossless.size() == 1) odd = lossless;
    if (others.empty() && is_png_of_ids(usual[0]) && !is_png_of_ids(usual[1])) odd = {usual[0]};
  }
  Paths found;
  if (odd.empty() && taken.size() == files.size()) return found;
  Look others;  // the richest of a few, since some frame of a video may be black
  for (const size_t place : {size_t{0}, usual.size() / 2, usual.size() - 1}) {
    if (!odd.empty() && usual[place] == odd[0]) continue;
    const Look look = look_at(usual[place]);
    others = {std::max(others.colours, look.colours), std::min(others.flat, look.flat)};
  }
  const bool rich = others.colours > kFew;
  const bool coloured = in_colours(usual[0]);
  const auto is_doubted = [&](const fs::path& file) {
    if (has_word(file) || !has_number(file) || (coloured && is_png_of_ids(file))) return true;
    const Look look = look_at(file);
    const bool drawn = look.colours > 1 && look.flat >= kFlat && others.flat < kFlat;
    return drawn || (rich && looks_like_mask(look));
  };
  for (const auto& file : files) {
    if (taken.count(file)) {
      const bool is_odd = !odd.empty() && file == odd[0];
      if (is_odd && rich && looks_like_mask(look_at(file))) found.push_back(file);
    } else if (is_doubted(file)) {
      found.push_back(file);
    }
  }
  return found;
}

}  // namespace

PictureFolder find_pictures(const fs::path& folder, const fs::path& masks) {
  PictureFolder found;
  Paths others;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& file = entry.path();
    if (file.filename().string()[0] == '.' || !fs::is_regular_file(file)) continue;
    if (kSuffixes.count(suffix_of(file))) found.files.push_back(file);
    else if (kOthers.count(suffix_of(file))) others.push_back(file);
  }
  std::sort(found.files.begin(), found.files.end());
  std::sort(others.begin(), others.end());
  const Paths given = without_given(found.files, masks);
  if (found.files.empty()) {
    throw std::runtime_error(
        folder.string() +
        (given.empty() ? " holds no images"
                       : " holds no frames but masks that --masks gives (" + listed(given) +
                             "); give the folder of the video's frames"));
  }
  if (!given.empty()) {
    found.notes.push_back(listed(given) + (given.size() > 1 ? " have" : " has") +
                          " the content of a mask that was given, " + masks.string() + ", so " +
                          (given.size() > 1 ? "they are" : "it is") + " no frame");
  }
  if (!others.empty()) {
    found.notes.push_back(folder.string() + ": " + listed(others) +
                          (others.size() > 1
                               ? " are not read as frames; convert them to PNG if they are some"
                               : " is not read as a frame; convert it to PNG if it is one"));
  }
  if (const std::string how = sort_pictures(folder.string(), found.files); !how.empty()) {
    found.notes.push_back(how);
  }
  if (const Paths doubted = may_be_masks(found.files); !doubted.empty()) {
    throw std::runtime_error(
        listed(doubted) + " of " + folder.string() + " may be " +
        (doubted.size() > 1 ? "masks" : "a mask") +
        " among the frames; move what is no frame out of the folder, and name what is one like " +
        "the others and save it in the same format");
  }
  for (size_t i = 1; i < found.files.size(); ++i) {
    if (found.files[i - 1].stem() == found.files[i].stem()) {
      throw std::runtime_error(folder.string() + " holds " +
                               found.files[i - 1].filename().string() + " and " +
                               found.files[i].filename().string() +
                               ": each stem names one frame and its mask; remove one of them");
    }
  }
  return found;
}
