"""What the frames give the surface: crops with cameras, depth, outlines, what is hidden, and pixels to render."""
