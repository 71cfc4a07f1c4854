"""The notebook, run without a browser on a tiny capture; the box widget's page in a real one."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from functools import partial
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.flows import tiny

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "step_by_step.ipynb"
MISSING = [n for n in ("nbclient", "ipykernel", "ipywidgets", "anywidget") if util.find_spec(n) is None]
with_jupyter = pytest.mark.skipif(
    bool(MISSING), reason="jupyter is not installed (pip install 'stereotwin[notebook]' nbclient)"
)
PAGE = """<!doctype html><body style="margin:0"><div id="here" style="width:400px"></div><script type="module">
import widget from "./box_widget.js"
const values = {size: [200, 100], box: [], picture: Uint8Array.from(atob("PICTURE"), c => c.charCodeAt(0))}
window.saved = []
const model = {get: k => values[k], set: (k, v) => { values[k] = v }, on: () => {}, save_changes: () => window.saved.push([...values.box])}
widget.render({model, el: document.getElementById("here")})
document.body.dataset.ready = "yes"
</script></body>"""


def _texts(cell: dict) -> str:
    return "".join("".join(o.get("text", "")) for o in cell["outputs"])


def _kinds(cell: dict) -> set[str]:
    return {kind for o in cell["outputs"] for kind in o.get("data", {})}


def test_it_is_committed_without_results():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not c.get("outputs") and c.get("execution_count") is None for c in cells)


@with_jupyter
@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    import nbclient
    import nbformat

    capture = tiny.write_tiny(tiny.render_base(tmp_path / "base"), tmp_path / "cup", seed=1)
    tiny.write_settings(capture)
    for name, value in (
        ("TWIN_STORE", tmp_path / "store"),
        ("TWIN_NOTEBOOK_CAPTURE", capture),
        ("TWIN_NOTEBOOK_OUT", tmp_path / "twin"),
        ("PYTHONPATH", ROOT),
    ):
        monkeypatch.setenv(name, str(value))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    cells = [c for c in book.cells if c.cell_type == "code"]
    widgets = [c for c in cells if "application/vnd.jupyter.widget-view+json" in _kinds(c)]
    assert len(widgets) == 4  # box, rectification, depth, mask
    states = book.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
    drawn = [base64.b64decode(w["buffers"][0]["data"]) for w in states if w["model_name"] == "ImageModel"]
    assert len(drawn) == 3 and all(len(data) > 2000 and data.startswith(b"\x89PNG") for data in drawn)
    scenes = [o for c in cells for o in c["outputs"] if "srcdoc" in "".join(o.get("data", {}).get("text/html", ""))]
    assert len(scenes) == 2  # cameras and surface in 3-D
    word = json.loads((tmp_path / "twin" / "run.json").read_text())["verdict"]["word"]
    assert word != "usable"  # nine tiny frames of one side
    assert any(f"{word}:" in _texts(c) and "posed frames" in _texts(c) for c in cells)
    assert any("image/png" in _kinds(c) for c in cells) and (tmp_path / "twin" / "twin.glb").is_file()


@with_jupyter
def test_the_box_widget_keeps_what_it_is_given():
    from stereotwin import notebook

    picker = notebook.box_picker(np.zeros((100, 200, 3), np.uint8), (1, 2, 30, 40))
    assert picker.box == [1, 2, 30, 40] and picker.size == [200, 100]
    assert cv2.imdecode(np.frombuffer(picker.picture, np.uint8), cv2.IMREAD_COLOR).shape == (100, 200, 3)


@with_jupyter
def test_the_picture_follows_the_sliders():
    import ipywidgets

    from stereotwin import notebook

    def draw(frame, grey):
        return np.full((10, 20, 3), frame + grey, np.uint8)

    view = notebook.by_frame([0, 5], draw, grey=ipywidgets.IntSlider(value=100, max=200))

    def value():
        return int(cv2.imdecode(np.frombuffer(view.children[-1].value, np.uint8), cv2.IMREAD_COLOR)[0, 0, 0])

    assert value() == 100
    view.children[0].value, view.children[1].value = 5, 150
    assert value() == 155


def test_the_box_is_drawn_with_the_mouse(tmp_path, browser):
    pytest.importorskip("selenium")
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    data = cv2.imencode(".jpg", np.full((100, 200, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "box_widget.js").write_bytes((ROOT / "stereotwin" / "box_widget.js").read_bytes())
    (tmp_path / "page.html").write_text(PAGE.replace("PICTURE", base64.b64encode(data).decode()))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_address[1]}/page.html")
        browser.see("drag a box round the object")
        for places in (((100, 120), (300, 60)), ((10, 10), (12, 12))):
            mouse = ActionBuilder(browser.driver)
            mouse.pointer_action.move_to_location(*places[0]).pointer_down().move_to_location(*places[1]).pointer_up()
            mouse.perform()
        saved = browser.driver.execute_script("return window.saved")
        server.shutdown()
    assert np.allclose(saved[0], [50, 30, 150, 60], atol=1) and saved[1] == []  # a click is no box
