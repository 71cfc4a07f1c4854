"""The way through a video: where the object is at first, frame after frame, and again with what all taught."""
