// Finds the pictures in a folder that are a video's frames.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

struct PictureFolder {
  std::vector<std::filesystem::path> files;  // in the order of frames, at least one
  std::vector<std::string> notes;            // lines that say what was left out, and an unusual order
};

// Lists the frames in a folder. No copy of a mask that was given is a frame; masks is that file, or
// a folder of them. Throws std::runtime_error where there is none, where two have one stem, and
// where a picture may be a mask: mavos-run looks closer, and takes some that are refused here.
PictureFolder find_pictures(const std::filesystem::path& folder,
                            const std::filesystem::path& masks);
