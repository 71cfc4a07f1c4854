"""report.html in a real Chromium: desktop and phone, light and dark, with mouse and keyboard; nothing in the console."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("selenium", reason="selenium is not installed: the report is not tested in a browser")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses
from stages.core.meshes import write_ply
from stages.core.report import write_report
from stages.core.verdict import judge, read_facts
from stages.package.files import write_glb
from tests.flows.browser import found
from tests.package.model import boxed, surface

FLAGS = ("--headless=new", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
         "--disable-dev-shm-usage", "--disable-background-networking")  # fmt: skip
NOT_OURS = "GPU stall"
"""what the software renderer says of itself"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A twin with a long name, long texts and every kind of figure."""
    out = tmp_path_factory.mktemp("a-twin-with-a-rather-long-name-of-its-own")
    write_ply(out / "mesh.ply", surface(boxed()))
    write_glb(out / "twin.glb", boxed(), surface(boxed()))
    Rig(64, 48, 80.0, 80.0, 31.5, 23.5, 0.05).save(out / "rig.json")
    pose = np.eye(4)
    pose[2, 3] = -0.3
    write_poses(out / "poses.json", [FramePose(k, pose, "ok", 210, 0.3) for k in range(8)])
    metrics = {
        "pixel_on_object_mm": 0.3,
        "field_backend": "numba: no CUDA GPU; its kernels run on any CPU " * 2,
        "vertices": 1234567,
    }
    surface_report = {"method": "neural", "metrics": metrics, "warnings": ["a/very/long/path/without/any/blank/" * 6]}
    manifests = {
        "surface": {"seconds": 3.2, "peak_memory_mb": 300, "settings": {"method": "auto"}, "report": surface_report}
    }
    verdict = judge(read_facts(out, manifests)).record()
    return write_report(out, manifests, {}, out, {"capture": "cup", "verdict": verdict})


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = found("chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options, Service(found("chromedriver")))
    yield made
    made.quit()


def wait(driver, condition: str):
    deadline = time.monotonic() + 60
    while not driver.execute_script(f"return {condition}"):
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page(report, driver, width, scheme):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    driver.get(report.as_uri())
    wait(driver, "document.getElementById('view').dataset.ready === 'yes'")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width, (
        "nothing sticks out to the side"
    )
    assert driver.execute_script("return document.getElementById('view').getBoundingClientRect().top") < 500, (
        "the twin above the fold"
    )
    assert driver.find_element(By.TAG_NAME, "main").is_displayed()
    assert "PARTIAL" in driver.find_element(By.CSS_SELECTOR, ".verdict[role=status]").text
    ground = driver.execute_script("return getComputedStyle(document.querySelector('.viewer')).backgroundColor")
    brightness = sum(int(x) for x in ground.strip("rgb()").split(",")) / 3
    assert brightness < 60 if scheme == "dark" else brightness > 200, "the viewer follows the page"
    legend = driver.find_element(By.ID, "legend")
    assert not legend.is_displayed()
    driver.find_element(By.CSS_SELECTOR, "[data-look='2']").send_keys(Keys.ENTER)
    assert legend.is_displayed() and "mm" in legend.text and "never seen" in legend.text
    canvas = driver.find_element(By.ID, "view")
    before = canvas.screenshot_as_png
    canvas.send_keys(Keys.ARROW_LEFT * 5)
    time.sleep(0.3)
    assert canvas.screenshot_as_png != before, "arrow keys turn it"
    assert [m["message"] for m in driver.get_log("browser") if NOT_OURS not in m["message"]] == []
