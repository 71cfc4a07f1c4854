"""The drop test: the files of sim/ in real engines, let fall from 5 cm in the support pose and in six others."""

from stages.core.drop.result import ENGINES, Drop, engines_here, failures

__all__ = ["ENGINES", "Drop", "engines_here", "failures"]
