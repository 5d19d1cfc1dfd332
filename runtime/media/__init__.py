"""Videos, pictures and masks, in and out."""
