"""The log file of a run: what flows and stages say while it is open, in full."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to(path: Path) -> logging.Handler | None:
    """From now on also into this file; None where it cannot be opened."""
    with suppress(OSError):  # a full disk: the stage's own error says so
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        for name in ("flows", "stages"):
            logger = logging.getLogger(name)
            logger.addHandler(handler)
            logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
        return handler
    return None


def close_log(handler: logging.Handler | None) -> None:
    """What `log_to` gave."""
    if handler is not None:
        for name in ("flows", "stages"):
            logging.getLogger(name).removeHandler(handler)
        with suppress(OSError):  # on a full disk its last lines are lost, the run is not
            handler.close()
