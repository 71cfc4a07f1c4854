"""The states of runs by which they are looked through and counted. Nothing heavy is imported here."""

from __future__ import annotations

STATES = ("running", "done", "failed", "interrupted", "died")
