"""Label maps of videos, in every format that is read or written."""
