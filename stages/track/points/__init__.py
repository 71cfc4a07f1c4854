"""Key points of one frame: found, and measured by both eyes."""
