"""Masks by SAM 2 video, and their outlines placed again by depth."""
