"""A twin's pictures, cameras, masks and depth in the formats of other programs."""
