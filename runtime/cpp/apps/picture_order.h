// The order of a video's frames by the names of their pictures.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

// Sorts pictures as mavos-run does: numbers in names count up, so a2 comes before a10; names that
// are all times with decimals go by time, and numbers below zero come before those above. Returns a
// line that says so where the order is another than that of counted numbers, or nothing. Throws
// std::runtime_error where names may be times or not and the order depends on it.
std::string sort_pictures(const std::string& folder, std::vector<std::filesystem::path>& files);
