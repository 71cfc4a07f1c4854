"""Points seen in many frames, aligned to sub-pixel, and the poses that go with them."""
