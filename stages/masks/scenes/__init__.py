"""What each kind of capture lets expect of a frame: cameras, background, ground and the object's hull."""
