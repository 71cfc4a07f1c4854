"""The UI in a real browser, with a real server and the real stages: the form, a run, its artifacts, a failure and Retry."""

from __future__ import annotations

import json
import re
import shutil
import typing
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: the UI is not tested in a browser")

from flows.flow_run.own_work import DEPLOYMENTS
from stages.core.fingerprint import digest_mapping
from stages.core.store import Store
from stages.graph import every_stage, stages
from tests.depth import block_matcher
from tests.depth.test_onnx import register
from tests.flows import tiny
from tests.flows.browser import Browser, Form
from tests.flows.served import Served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.flaky(reruns=0),
]  # each test goes on from what the ones before have computed
RUN_S = 400.0
"""a run takes less than a minute; beside ten busy processes on two cores it took five"""
STAGES = [s.name for s in stages()]


@pytest.fixture(scope="module")
def served(tmp_path_factory, browser):
    """`twin serve` with one tiny capture, cup, and weights that are known but not there; the browser is logged in by its link."""
    folder = tmp_path_factory.mktemp("ui")
    tiny.write_settings(tiny.write_tiny(tiny.render_base(folder / "base"), folder / "captures" / "cup", seed=1))
    network = block_matcher.write(folder / "toy.onnx", disparities=80)
    (folder / "weights").mkdir()
    register(folder / "weights", network)
    server = Served(folder, {"TWIN_WEIGHTS": str(folder / "weights")}, runs=1)
    browser.open(server.link)
    browser.see("Dashboard")
    browser.hosts()  # forgets what tests before these have visited in the same browser
    yield server
    assert server.stop() == 0, server.said()


@pytest.fixture
def form(served, browser) -> Form:
    """Custom run of reconstruct-capture, reached as a user reaches it."""
    browser.open(f"http://127.0.0.1:{served.port}/v2/deployments")
    browser.see(*(name.partition("/")[2] for name in DEPLOYMENTS))
    browser.click("//tr[contains(., 'one-capture')]//a")
    browser.press("Run")
    browser.press("Custom run", "menuitem")
    browser.see("Parameters", "time limit")
    return Form(browser)


def number_of_runs(served: Served) -> int:
    return len(served.api("/flow_runs/filter", {}))


def executions(served: Served) -> Counter[str]:
    """How often each stage was computed: a line in the log of its run each time."""
    logs = "".join(p.read_text() for p in (served.store / "runs").glob("*.log"))
    return Counter(re.findall(r"flows\.run\.run: (\w+): computing \(", logs))


def page_of(served: Served, run: str) -> str:
    """Address of a run with its log."""
    return f"http://127.0.0.1:{served.port}/v2/runs/flow-run/{run}?tab=Logs"


def submit(form: Form, served: Served) -> str:
    """Submit the form once and open the page of the run that it starts; the run's id. By the server's word: the message with the link
    to the run is gone after four seconds, which a busy machine may need to draw it."""
    known = {r["id"] for r in served.api("/flow_runs/filter", {})}
    form.submit()
    run = served.wait(lambda: {r["id"] for r in served.api("/flow_runs/filter", {})} - known, RUN_S).pop()
    form.browser.open(page_of(served, run))
    return run


def ended(served: Served, run: str, state: str) -> None:
    """Wait until a run has ended, which has to be in this state."""
    end = served.wait_for(run, "Completed", "Failed", "Crashed", seconds=RUN_S)
    assert end["state_name"] == state, end["state"]["message"]


@contextmanager
def unfinished(served: Served) -> Iterator[None]:
    """Inside, a run of cup cannot end: somebody else has its twin folder."""
    with Store(served.store).lock(digest_mapping({"twin folder": str(served.twins / "cup")})):
        yield


def open_run(browser: Browser, served: Served, run: str, last_line: str) -> None:
    """The run's page, its log with the newest line first, as soon as the server has that line: the page of a run that has ended never
    asks again, and only the lines in view are in the page at all."""

    def told() -> bool:
        lines = served.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_DESC"})
        return any(last_line in line["message"] for line in lines)

    served.wait(told, RUN_S)
    browser.open(page_of(served, run))
    order = "//button[normalize-space()='Oldest to newest' or normalize-space()='Newest to oldest']"
    if browser.read(order) == "Oldest to newest":  # it remembers what was chosen
        browser.click(order)
        browser.press("Newest to oldest", "option")


def open_artifact(browser: Browser, served: Served, run: str, key: str, *words: str) -> str:
    """From the run's page to one of its artifacts; what can be read there, with these words."""
    browser.open(page_of(served, run))
    browser.press("Artifacts", "tab")
    browser.click(f"//*[@role='tabpanel']//*[normalize-space()='{key}']")
    browser.click("//a[contains(@href, '/artifacts/artifact/')]")  # the newest of its history
    return browser.see("Show Raw Data", key, *words)


def test_the_form_is_readable(form):
    assert form.chosen("capture") == "cup"  # the only one
    assert form.choices("capture") == ["cup"]
    assert form.choices("profile") == ["preview", "standard", "quality"]
    for stage in stages():
        hint = typing.get_type_hints(stage.Config).get("method")
        if typing.get_origin(hint) is typing.Literal:
            assert form.choices(stage.name.capitalize()) == list(typing.get_args(hint)), stage.name
    assert "semi-global matching" in form.about("Depth")
    assert form.choices("start from") == [s.name for s in every_stage()]
    assert form.choices("route") == ["auto", "stereo", "posed", "scene", "rgbd", "merge", "turntable"]
    assert "at most 1440" in form.about("time limit")
    for edge in ("Left", "Top", "Right", "Bottom"):
        form.write(edge, "1")
        assert form.input(edge).get_attribute("type") == "number" and "px" in form.about(edge)
    assert "Property is type" not in form.browser.text
    assert form.browser.find(f"{form.field('force')}//button[@role='switch']").get_attribute("aria-checked") == "false"


def test_the_form_leads_to_the_page_that_draws_the_box(form, served):
    address = f"http://127.0.0.1:{served.files_port}/pick/"
    assert address in form.about("box")
    form.browser.open(address)  # the browser that is logged in is let in here too
    form.browser.click("//a[normalize-space()='cup']")
    form.browser.see("Drag a box round the object", "Marked: frame 0")
    form.browser.wait(lambda: form.browser.driver.execute_script("return document.body.dataset.ready === 'yes'"))


def test_wrong_values_are_refused_in_the_form(form, served):
    before = number_of_runs(served)
    form.tab("capture", "by path")
    form.submit()
    form.browser.see("'capture' is a required property")
    form.tab("capture", "by name")
    form.choose("capture", "cup")
    form.write("time limit, minutes", "-3")
    form.submit()
    form.browser.wait(
        lambda: (
            form.input("time limit, minutes").get_attribute("validationMessage") or "minimum of 0" in form.browser.text
        )
    )
    form.write("time limit, minutes", "10")
    form.browser.press("Add item")
    form.write("settings", "nonsense")
    form.submit()
    form.browser.see("'nonsense' does not match")
    assert number_of_runs(served) == before


def test_a_run_from_the_form_and_what_it_shows(form, served):
    form.choose("profile", "preview")
    with unfinished(served):
        run = submit(form, served)
        form.browser.see(
            "computing (no earlier result for this capture)", seconds=RUN_S
        )  # while it goes on, the page follows its log
        form.browser.leave()
    ended(served, run, "Completed")
    address = f"twin: http://127.0.0.1:{served.files_port}/cup/report.html"
    open_run(form.browser, served, run, address)
    form.browser.see("Completed", "package: computed in", address)
    assert executions(served) == dict.fromkeys(STAGES, 1)
    for stage, words in (("depth", "density median"), ("surface", "extent x"), ("package", "a full turn of the twin")):
        page = open_artifact(form.browser, served, run, f"{stage}-report", words)
        assert re.search(r"\d (mm|px|MB|s)\b", page), page
        assert all(w > 100 and h > 50 for w, h in form.browser.pictures())
    word = json.loads((served.twins / "cup" / "run.json").read_text())["verdict"]["word"]
    assert word != "usable"  # nine tiny frames of one side
    open_artifact(form.browser, served, run, "twin", f"{word}:", "Warnings")
    form.browser.open(form.browser.read("//a[normalize-space()='report']", "href"))
    form.browser.see("cup")
    assert any(w > 100 for w, _ in form.browser.pictures())
    own = {f"127.0.0.1:{served.port}", f"127.0.0.1:{served.files_port}"}
    assert form.browser.hosts() <= own  # no page, font or report of page views from elsewhere


def test_a_failed_run_says_why_and_retry_computes_only_the_rest(form, served):
    runs, known = number_of_runs(served), executions(served)
    form.choose("capture", "cup")
    form.choose("profile", "preview")
    form.choose("Depth", "onnx")
    form.browser.press("Add item")
    form.write("settings", "depth.onnx_weights=toy")
    run = submit(form, served)
    form.browser.leave()
    ended(served, run, "Failed")
    open_run(form.browser, served, run, "What to do")
    page = form.browser.see("Failed", "the weights toy are not on this machine", "What to do: download toy.onnx")
    assert "Traceback" not in page
    open_artifact(form.browser, served, run, "failure", "Then press Retry")
    shutil.copy(served.folder / "toy.onnx", served.folder / "weights" / "toy.onnx")
    form.browser.open(page_of(served, run))
    form.browser.click("//main//button[@aria-haspopup='menu'][normalize-space()='Open menu']")
    form.browser.press("Retry", "menuitem")
    form.browser.click("//*[@role='dialog' or @role='alertdialog']//button[normalize-space()='Retry']")
    served.wait(lambda: served.flow_run(run)["state_name"] != "Failed", RUN_S)
    form.browser.leave()
    ended(served, run, "Completed")
    open_run(form.browser, served, run, "twin: http")
    form.browser.see("Completed", "package: computed in")
    assert executions(served) - known == Counter(STAGES) - Counter(
        rectify=known["rectify"]
    )  # what was known is not computed again
    assert served.flow_run(run)["run_count"] == 2 and number_of_runs(served) == runs + 1
