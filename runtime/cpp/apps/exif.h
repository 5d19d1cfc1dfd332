// Finds out from a picture's file how the picture is turned and mirrored to be shown.
#pragma once

#include <string>

#include "turning.h"

// The turn that the EXIF block of a JPEG, PNG or WebP asks for; none where it has no such block.
Turn exif_turn(const std::string& file);
