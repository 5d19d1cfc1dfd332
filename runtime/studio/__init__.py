"""mavos-studio: a server on this machine and its page, from a video to masks."""
