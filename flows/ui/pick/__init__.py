"""A page on which the object is marked with mouse or finger: box, points, corrections, saved to the capture's prompt.json."""
