"""The browser of the other tests."""

from __future__ import annotations

from tests.flows.conftest import browser

__all__ = ["browser"]
