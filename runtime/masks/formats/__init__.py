"""Files that hold masks: one reader and one writer for each format."""
