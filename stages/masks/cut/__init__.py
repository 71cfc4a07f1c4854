"""The mask of one frame: evidence, an expectation, and the outline that fits both best."""
