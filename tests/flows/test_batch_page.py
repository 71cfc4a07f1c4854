"""batch.html of thousands of captures in Chromium, as a file without any server: searched, narrowed, ordered, saved as CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from flows.ui.batch_page import Outcome, write_summary

pytestmark = pytest.mark.slow
COUNT = 4000


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Every hundredth failed; one name would run as a formula in a table, one as a script here."""
    folder = tmp_path_factory.mktemp("twins")
    outcomes = []
    for k in range(COUNT):
        out = folder / f"part{k:04d}"
        out.mkdir()
        (out / "run.json").write_text(
            json.dumps({"schema_version": 1, "stages": {"bundle": {"metrics": {"rms_px": k / 1000}}}})
        )
        bad = k % 100 == 0
        state, why = ("Failed", f"frame {k} of right/ is missing") if bad else ("Completed", "")
        outcomes.append(Outcome(out.name, state, 60.0 + k, why, str(out)))
    strange = [Outcome("=cmd|x", "Completed", 3.0), Outcome("<script>document.title='run'</script>", "Completed", 2.0)]
    return write_summary([*outcomes, *strange], folder)


def _shown(browser) -> list[str]:
    return browser.driver.execute_script(
        "return [...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).map(r => r.cells[1].textContent)"
    )


def _search(browser, words: str) -> None:
    box = browser.find("//input[@id='search']")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(words or Keys.DELETE)


def _choose(browser, status: str) -> None:
    Select(browser.find("//select[@id='status']")).select_by_visible_text(status)


def _see(browser, count: int) -> None:
    """Not by reading the whole page, as `browser.see` does."""
    browser.wait(lambda: browser.find("//*[@id='shown']").text == f"{count} of {COUNT + 2} shown", 30)


def test_searched_narrowed_and_ordered(browser, page):
    browser.open(page.as_uri())
    assert len(_shown(browser)) == COUNT + 2 and browser.driver.title.startswith("Batch: ")
    assert _shown(browser)[:2] == ["part0000", "part0100"]  # failures first
    _search(browser, "part12 missing")
    _see(browser, 1)
    assert _shown(browser) == ["part1200"]
    _search(browser, "")
    _choose(browser, "Failed")
    _see(browser, 40)
    browser.driver.refresh()  # as while a batch goes on
    _see(browser, 40)
    _choose(browser, "every status")
    browser.click("//th[normalize-space()='seconds']")
    assert _shown(browser)[:3] == ["<script>document.title='run'</script>", "=cmd|x", "part0000"]
    browser.click("//th[normalize-space()='seconds']")
    assert _shown(browser)[0] == f"part{COUNT - 1}" and not browser.hosts()  # and nobody was asked for anything


def test_what_is_shown_is_saved_as_csv(browser, page, tmp_path):
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open(page.as_uri())
    _search(browser, "cmd")
    _see(browser, 1)
    browser.press("CSV of what is shown")
    table = browser.wait(lambda: (p := tmp_path / "batch.csv").exists() and p.stat().st_size and p)
    head, row = list(csv.reader(Path(table).open(newline="")))
    assert head[:3] == ["capture", "status", "seconds"] and "reprojection, px" in head
    assert row[:3] == ["'=cmd|x", "Completed", "3.0"]  # not taken for a formula
    assert browser.driver.find_element(By.TAG_NAME, "h1").text.startswith("Batch of")
