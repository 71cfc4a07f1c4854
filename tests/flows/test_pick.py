"""The page on which the object is marked: its server, and the page in a real browser."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from flows.ui.pick.pages import PickPages
from flows.web.guard import Allowed
from flows.web.password import authorization
from flows.web.twin_files import Shown, TwinFileServer, serve
from stages.core.errors import CaptureError
from stages.core.object_prompt import read_prompt
from stages.marking import MarkedCapture
from tests.flows.conftest import make_capture

SIZE = (320, 240)


@pytest.fixture
def capture(tmp_path):
    """Three frames, unlike each other."""
    folder = make_capture(tmp_path / "captures" / "cup & jug")
    across, down = np.meshgrid(np.arange(SIZE[0]) / SIZE[0], np.arange(SIZE[1]) / SIZE[1])
    for side in ("left", "right"):
        for k in range(3):
            picture = 255 * np.stack([across, down, np.full_like(across, k / 3)], 2)
            cv2.imwrite(str(folder / side / f"{k:06d}.png"), picture.astype(np.uint8))
    return folder


@contextmanager
def _serving(pick: PickPages, auth: str = ""):
    with TwinFileServer(("127.0.0.1", 0), Shown(None, Allowed.at("127.0.0.1"), auth, pick)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _ask(port: int, path: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_pictures_are_shown_and_the_prompt_is_saved(capture):
    with _serving(PickPages.of(capture, "k")) as port:
        status, about = _ask(port, "/pick/about?key=k")
        assert status == 200 and json.loads(about) == {
            "name": "",
            "frames": [0, 1, 2],
            "size": [320, 240],
            "prompt": {},
        }
        shown = cv2.imdecode(np.frombuffer(_ask(port, "/pick/picture?key=k&frame=2")[1], np.uint8), cv2.IMREAD_COLOR)
        wanted = cv2.imread(str(capture / "left" / "000002.png"))
        assert shown.shape == wanted.shape and np.abs(shown.astype(float) - wanted).mean() < 3
        prompt = {"frame": 1, "box_xyxy": [10, 20, 200, 180], "corrections": [{"frame": 2, "points": [[5, 6, 0]]}]}
        assert _ask(port, "/pick/prompt?key=k", "PUT", prompt)[0] == 200
        assert (
            json.loads((capture / "prompt.json").read_text())
            == prompt
            == json.loads(_ask(port, "/pick/about?key=k")[1])["prompt"]
        )
        for wrong, words in (
            ({"frame": 1, "box_xyxy": [10, 20, 900, 180]}, b"does not lie inside the 320x240 px picture"),
            ({"frame": 7, "box_xyxy": [1, 2, 30, 40]}, b"frames 0 to 2"),
            ({"bax": 1}, b"unknown key"),
            ([], b"no entry"),
        ):
            status, said = _ask(port, "/pick/prompt?key=k", "PUT", wrong)
            assert status == 422 and words in said, said
        assert json.loads((capture / "prompt.json").read_text()) == prompt  # what is refused changes nothing
        assert _ask(port, "/pick/prompt?key=k", "PUT", {})[0] == 200 and not (capture / "prompt.json").exists()
        assert _ask(port, "/pick/picture?key=k&frame=9")[0] == 422 and _ask(port, "/pick/nothing?key=k")[0] == 404


def test_who_may_ask(capture):
    with _serving(PickPages.of(capture, "k")) as port:
        for path in ("/pick/about", "/pick/picture?frame=0&key=x", "/pick/?capture=a"):
            assert _ask(port, path)[0] == 403, path
        for headers in ({"Origin": "http://elsewhere.example"}, {"Host": "rebound.example"}):
            assert _ask(port, "/pick/prompt?key=k", "PUT", {"frame": 0}, **headers)[0] == 403
        assert _ask(port, "/cup/report.html?key=k")[0] == 404 and not (capture / "prompt.json").exists()
    with _serving(PickPages.of(capture, ""), "twin:word") as port:
        assert _ask(port, "/pick/prompt", "PUT", {})[0] == 401 == _ask(port, "/pick/about")[0]
        assert _ask(port, "/pick/about", Authorization=authorization("twin:word"))[0] == 200


def test_beside_the_twins_all_captures_of_the_folder_and_no_other(capture, tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_CAPTURES", str(tmp_path / "captures"))
    pages = PickPages.below(tmp_path / "captures")
    assert b'href="?capture=cup%20%26%20jug">cup &amp; jug<' in pages.answer("GET", "/pick/").body
    assert pages.answer("GET", "/pick/about?capture=cup%20%26%20jug").status == 200
    make_capture(tmp_path / "secret")
    for name in ("../secret", str(tmp_path / "secret"), "~", "", "."):
        assert pages.answer("GET", f"/pick/about?capture={name}").status == 422, name


@pytest.mark.parametrize(
    ("host", "auth", "there"), [("127.0.0.1", "", True), ("0.0.0.0", "", False), ("0.0.0.0", "twin:word", True)]
)
def test_only_on_this_machine_or_behind_a_password(host, auth, there, tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("TWIN_PICK_URL", "http://here/pick/")
    monkeypatch.setattr("flows.web.twin_files.TwinFileServer.__init__", lambda self, address, shown: made.append(shown))
    monkeypatch.setattr("flows.web.twin_files.TwinFileServer.serve_forever", lambda self: None)
    serve(host, 0, tmp_path, auth)
    assert (made[0].pick is not None) == there


def test_a_video_shows_frames_of_its_whole_length(tmp_path):
    folder = make_capture(tmp_path / "film")
    shutil.rmtree(folder / "left")
    shutil.rmtree(folder / "right")
    video = cv2.VideoWriter(str(folder / "stereo.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 20, (128, 48))
    for k in range(70):
        video.write(np.full((48, 128, 3), 3 * k, np.uint8))
    video.release()
    marked = MarkedCapture.open(folder)
    assert marked.frames == list(range(0, 70, 3)) and marked.size == (64, 48)
    assert abs(float(marked.left(66).mean()) - 198) < 4
    with pytest.raises(CaptureError, match="has no left picture"):
        marked.left(900)


@pytest.fixture
def page(capture):
    """`twin pick` as it is started, and the address that it prints."""
    command = [sys.executable, "-m", "flows.cli", "pick", str(capture)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_drawn_with_mouse_and_finger(capture, page, browser):
    pytest.importorskip("selenium")
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
    from selenium.webdriver.common.actions.pointer_input import PointerInput
    from selenium.webdriver.common.by import By

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/pick/\?capture=cup%20%26%20jug&key=[\w-]+", page)

    def ready():
        browser.wait(lambda: browser.driver.execute_script("return document.body.dataset.ready === 'yes'"))
        box = browser.driver.execute_script(
            "const r = document.getElementById('picture').querySelector('image').getBoundingClientRect();"
            "return [r.x, r.y, r.width]"
        )
        return lambda x, y: (round(box[0] + x * box[2] / SIZE[0]), round(box[1] + y * box[2] / SIZE[0]))

    def saved() -> dict:
        browser.press("Save")
        browser.see("Saved to prompt.json")
        return json.loads((capture / "prompt.json").read_text())

    browser.open(page)
    at = ready()

    def drag(*places: tuple[int, int]) -> None:
        mouse = ActionBuilder(browser.driver)
        mouse.pointer_action.move_to_location(*at(*places[0])).pointer_down()
        for place in places[1:]:
            mouse.pointer_action.move_to_location(*at(*place))
        mouse.pointer_action.pointer_up()
        mouse.perform()

    drag((200, 150), (100, 100), (40, 60))
    assert np.allclose(saved()["box_xyxy"], [40, 60, 200, 150], atol=1)
    drag((200, 150), (220, 170))  # the corner, to another place
    browser.press("Beside it")
    browser.click("//button[@aria-label='frame after']")
    finger = ActionBuilder(browser.driver, mouse=PointerInput(POINTER_TOUCH, "finger"))
    finger.pointer_action.move_to_location(*at(50, 200)).pointer_down().pointer_up()
    finger.perform()
    prompt = saved()
    assert prompt["frame"] == 0 and np.allclose(prompt["box_xyxy"], [40, 60, 220, 170], atol=1)
    assert prompt["corrections"][0]["frame"] == 1 and np.allclose(
        prompt["corrections"][0]["points"], [[50, 200, 0]], atol=1
    )
    assert read_prompt(capture / "prompt.json", None, 0)["frame"] == 0
    browser.open(page)  # what is saved is there again, and can be taken away
    ready()
    assert "Marked: frame 0, 1" in browser.text
    browser.press("Clear this frame")
    browser.click("//button[@aria-label='frame after']")
    browser.press("Clear this frame")
    browser.press("Save")
    browser.see("Saved to prompt.json")
    browser.wait(lambda: not (capture / "prompt.json").exists())
    assert (
        browser.hosts() <= {urlsplit(page).netloc} and browser.driver.find_element(By.TAG_NAME, "main").is_displayed()
    )
