"""`--rest`: runs what `make test` leaves out: slow tests, and what skipped in it, after the extras that it named were installed. A skip is
then a failure.

The tests that skipped stand in pytest's cache, as those that failed do for `--lf`. Used by .ci/run, which also says `--until` when it has
to come to an end: what has not begun by then is skipped and listed.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

MAY_SKIP = (
    "no CUDA device",
    "this machine has a GPU",
    "no data set beside the checkout",
    "docker compose is not installed",
    "kubectl is not installed",
    "cannot mount a small file system here",
    "timm is not installed",  # brings a torchvision that wants another torch
    "triton is installed",
    "mitsuba is not installed",
    "this kornia has no",
    "bpy is made for",
    "pybullet is made for",
    "the validators are made for",
    "no time left",
)
"""what no package index gives to every machine, as the skips begin; also what must not run beside an extra"""
_CACHE = "skipped/ids"
_OPTION, _UNTIL = "--rest", "--until"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        _OPTION, action="store_true", help="run only slow tests and what the last run skipped; to skip again is to fail"
    )
    parser.addoption(_UNTIL, type=float, metavar="EPOCH", help="begin no test after this time, in seconds since 1970")


def pytest_configure(config: pytest.Config) -> None:
    if (until := config.getoption(_UNTIL)) is not None:
        config.pluginmanager.register(_Until(until), "until")
    config.pluginmanager.register(_Strict(config) if config.getoption(_OPTION) else _Remember(config), "skipped")


class _Until:
    """Begins nothing after a time: a machine that is busy elsewhere runs the less of what comes last, and says what."""

    def __init__(self, until: float) -> None:
        self._until = until

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        if time.time() > self._until:
            pytest.skip("no time left: make test-slow runs it")


class _Remember:
    """Notes what skips: tests, and modules that skip as a whole."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._ids = config, []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._ids.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._ids.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        shared = hasattr(self._config, "workerinput")  # one of several processes: the first of them hears of all
        if getattr(self._config, "cache", None) is not None and not shared:  # none with -p no:cacheprovider
            self._config.cache.set(_CACHE, self._ids)


class _Strict:
    """Selects what is slow and what was noted, and takes no skip for an answer."""

    def __init__(self, config: pytest.Config) -> None:
        self._ids = tuple(config.cache.get(_CACHE, []) if config.cache is not None else [])

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = [
            i
            for i in items
            if i.get_closest_marker("slow") or i.nodeid in self._ids or i.nodeid.partition("::")[0] in self._ids
        ]
        config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
        items[:] = chosen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        return _judged((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        return _judged(report) if collector.nodeid in self._ids else report


def _judged(report):
    if not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(MAY_SKIP):
        report.outcome, report.longrepr = "failed", f"skipped, though its extras are to be installed here: {reason}"
    return report
