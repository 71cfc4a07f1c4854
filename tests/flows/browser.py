"""The Prefect UI in headless Chromium, used as a person does: what is written on the page is looked for, clicked and typed into."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--window-size=1360,1000",
    "--host-resolver-rules=MAP rebound.example 127.0.0.1",
)
"""the last: a name whose owner points it at this machine, for the tests of what that lets him do"""
PATIENCE_S = 240.0
"""a page takes two seconds, and half a minute beside ten busy processes on two cores"""
PAGE_S = 110.0
"""selenium itself waits 120 s for an answer of its driver"""
NOT_YET = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)


class Browser:
    """One window."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = found("chromium", "chromium-browser", "google-chrome")
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(found("chromedriver")))
        self.driver.set_page_load_timeout(PAGE_S)

    def open(self, address: str) -> None:
        """Go to a page."""
        self.driver.get(address)

    def leave(self) -> None:
        """Go to an empty page: that of a run under way moves all the time, and drawing it takes a quarter of a core from the run."""
        self.open("about:blank")

    def forget(self, origin: str) -> None:
        """What this server has stored: nobody is logged in there any more."""
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})

    def close(self) -> None:
        """End Chromium."""
        self.driver.quit()

    @property
    def text(self) -> str:
        """All that can be read now."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def see(self, *words: str, seconds: float = PATIENCE_S) -> str:
        """Wait until all these words can be read; the page's text."""

        def there():
            return (page := self.text) and all(w in page for w in words) and page

        return self.wait(there, seconds, lambda: f"{words} in\n{self.text}")

    def wait(
        self, condition: Callable[[], Any], seconds: float = PATIENCE_S, what: Callable[[], str] = lambda: ""
    ) -> Any:
        """The condition's first true value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except NOT_YET:
                pass
            time.sleep(0.1)
        pytest.fail(f"waited {seconds:.0f} s in vain for {what()}")

    def find(self, path: str) -> WebElement:
        """The first visible element of an XPath, waited for."""
        return self.wait(
            lambda: next((e for e in self.driver.find_elements(By.XPATH, path) if e.is_displayed()), None),
            what=lambda: path,
        )

    def read(self, path: str, attribute: str = "") -> str:
        """What is written on the first visible element of an XPath, or one of its attributes; waited for until it is not empty."""

        def words() -> str | None:
            element = self.find(path)
            return element.get_attribute(attribute) if attribute else element.text

        return self.wait(words, what=lambda: f"{attribute or 'words'} of {path}")

    def click(self, path: str) -> None:
        """Waits until nothing is in the way."""

        def pressed() -> bool:
            element = self.find(path)
            self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            element.click()
            return True

        self.wait(pressed, what=lambda: f"a click on {path}")

    def press(self, name: str, role: str = "button") -> None:
        """A button, or a tab, an entry of a menu (role "tab", "menuitem"), by what is written on it."""
        kind = "button[not(@role)]" if role == "button" else f"*[@role='{role}']"
        self.click(f"//{kind}[normalize-space()='{name}']")

    def pictures(self) -> list[tuple[int, int]]:
        """Width and height of every picture with a caption, once there are some and all are loaded; 0 x 0 for one that cannot be read."""
        script = """const all = [...document.images].filter(i => i.alt)
                    all.forEach(i => i.loading = 'eager')
                    return all.every(i => i.complete) && all.map(i => [i.naturalWidth, i.naturalHeight])"""
        return [
            tuple(size)
            for size in self.wait(lambda: self.driver.execute_script(script), what=lambda: f"pictures in\n{self.text}")
        ]

    def hosts(self) -> set[str]:
        """All hosts that answered since this was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        answered = [m["params"]["response"]["url"] for m in messages if m["method"] == "Network.responseReceived"]
        return {urlsplit(url).netloc for url in answered if url.startswith("http")}


class Form:
    """The form of Custom run on the page that is open."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def field(self, label: str) -> str:
        """XPath of what belongs to a label."""
        head = f"//label[normalize-space()='{label}' or normalize-space()='{label} (Optional)']"
        return f"{head}/ancestor::div[following-sibling::fieldset][1]/following-sibling::fieldset[1]"

    def about(self, label: str) -> str:
        """The description below a label."""
        return self.browser.read(f"//label[starts-with(normalize-space(), '{label}')]/following-sibling::p")

    def choices(self, label: str) -> list[str]:
        """What its dropdown offers."""
        self._unfold(label)
        found = self.browser.wait(
            lambda: [e.text for e in self.browser.driver.find_elements(By.XPATH, "//*[@role='option']")]
        )
        self.browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        self.browser.wait(lambda: not self.browser.driver.find_elements(By.XPATH, "//*[@role='option']"))
        return found

    def chosen(self, label: str) -> str:
        """What its dropdown has chosen."""
        return self.browser.read(f"{self.field(label)}//button[@aria-haspopup='listbox']")

    def choose(self, label: str, option: str) -> None:
        """Take one entry of its dropdown."""
        self._unfold(label)
        self.browser.press(option, "option")
        self.browser.find(
            f"{self.field(label)}//button[@aria-haspopup='listbox'][starts-with(normalize-space(), '{option}')]"
        )

    def tab(self, label: str, name: str) -> None:
        """One of the kinds of value that a field takes."""
        self.browser.click(f"{self.field(label)}//*[@role='tab'][normalize-space()='{name}']")

    def input(self, label: str) -> WebElement:
        """Where its value is typed."""
        return self.browser.find(f"{self.field(label)}//*[self::input or self::textarea]")

    def write(self, label: str, value: str) -> None:
        """Type in place of what is there."""

        def written() -> bool:
            element = self.input(label)
            element.send_keys(Keys.CONTROL, "a")
            element.send_keys(value)
            return element.get_attribute("value") == value

        self.browser.wait(written, what=lambda: f"{value} in {label}")

    def submit(self) -> None:
        """Press the button; a message of the last attempt may lie over it for a while."""
        self.browser.press("Submit")

    def _unfold(self, label: str) -> None:
        self.browser.click(f"{self.field(label)}//button[@aria-haspopup='listbox']")
        self.browser.find("//*[@role='option']")


def found(*names: str) -> str:
    """Where a program is. Skips the test without it; fails it where NEEDS_CHROMIUM says that the browser tests have to run."""
    if path := next(filter(None, map(shutil.which, names)), None):
        return path
    reason = (
        f"{names[0]} is not installed (apt-get install chromium chromium-driver): the UI is not tested in a browser"
    )
    if os.environ.get("NEEDS_CHROMIUM"):
        pytest.fail(reason)
    pytest.skip(reason)
