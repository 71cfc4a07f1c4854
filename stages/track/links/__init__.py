"""Which frames show the same points, and the motions between them that can be believed."""
