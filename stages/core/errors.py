"""Errors that a user can act on: what was wrong, where, and what to do about it."""

from __future__ import annotations


class TwinError(Exception):
    """A problem whose message names the thing, what was expected, what was found and what to do.

    `advice` is kept apart from the message so that the command line, the report and the Prefect UI can set it on its own line.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message}\n  What to do: {advice}" if advice else message)
        self.message = message
        self.advice = advice

    def __reduce__(self):
        return type(self), (self.message, self.advice)


class CaptureError(TwinError):
    """The capture folder or one of its files cannot be used."""


class ConfigError(TwinError):
    """A setting is unknown, out of range, or has no effect with the chosen method."""


class StageError(TwinError):
    """A stage could not produce its result from valid input."""


class MachineError(StageError):
    """A stage could not run here: memory, processes, time, a device or a library is missing. Its input may be fine."""


class OutOfMemory(MachineError):
    """A stage ended for want of memory, whatever noticed it. What can lower its own needs may be tried once more."""


class StoreError(TwinError):
    """The store could not be read or written (full disk, no permission, corrupt manifest)."""


class WeightsError(TwinError):
    """Weights a method needs are missing or are not the expected file."""
