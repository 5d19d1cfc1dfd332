"""Values that are taken where a user names none."""

VIDEO = (480, 854)  # height and width in pixels that bundles are for: the 480p frame of DAVIS
