"""A frame at the working size, and the user's hint of where the object is."""
