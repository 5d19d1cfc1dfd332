"""Values that are taken where a user names none."""

MEMORY_GAP = 10  # frames between two writes to the long-term memory, as the authors have it
VIDEO = (480, 854)  # height and width in pixels that bundles are for: the 480p frame of DAVIS
