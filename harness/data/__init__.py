"""Images: data sets, their splits, decoding, and sets of images that are scored."""
