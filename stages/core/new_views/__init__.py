"""Pictures from cameras that took none, through the surface: which inputs are nearest, and their colours at what a pixel sees."""
