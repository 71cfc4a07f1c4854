"""The closed mesh: the first surface and the rounds that refine it, with their grids and bounds."""
