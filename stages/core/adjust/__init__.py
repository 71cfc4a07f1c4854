"""Bundle adjustment of poses and points with a rigid stereo rig."""
