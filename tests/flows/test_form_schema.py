"""Which captures the form offers, and that what is left empty in it is accepted."""

from __future__ import annotations

import json
import os

import pytest

from flows.ui import form_schema
from flows.ui.form_schema import draw_form, offered_captures
from tests.flows.conftest import make_capture


def test_captures_are_offered_by_name_at_any_level(tmp_path):
    for name in ("jug", "2026/cup", "2026/.hidden"):
        make_capture(tmp_path / name)
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "stereo.mp4").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "posed").mkdir()
    (tmp_path / "posed" / "transforms.json").touch()
    assert offered_captures(tmp_path) == ["2026/cup", "film", "jug", "posed"]
    assert offered_captures(tmp_path / "nowhere") == []


def test_of_too_many_captures_the_newest_are_offered(tmp_path, monkeypatch):
    monkeypatch.setattr(form_schema, "MOST_OFFERED", 2)
    for age, name in enumerate(("new", "older", "oldest")):
        make_capture(tmp_path / name)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert offered_captures(tmp_path) == ["new", "older"]


@pytest.mark.parametrize("names", [[], ["cup"]])
def test_the_schema_takes_names_paths_and_what_is_left_out(tmp_path, monkeypatch, names):
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import validate

    from flows.deployments import reconstruct_capture

    monkeypatch.setenv("TWIN_CAPTURES", str(tmp_path))
    for name in names:
        make_capture(tmp_path / name)
    schema = parameter_schema(reconstruct_capture).model_dump_for_openapi()
    draw_form(schema)
    assert schema["properties"]["capture"].get("default") == (names[0] if names else None)  # the only one is chosen
    assert '"null"' not in json.dumps(schema)  # which the form shows as: Property is type "None"
    for good in (
        {"capture": "cup"},
        {"capture": "/elsewhere/jug", "start_from": "depth", "time_limit_min": 5, "box": {}},
    ):
        assert validate(good, schema, raise_on_error=False) == []
    for bad in (
        {},
        {"capture": ""},
        {"capture": "cup", "start_from": "nothing"},
        {"capture": "cup", "time_limit_min": 0},
    ):
        assert validate(bad, schema, raise_on_error=False), bad
