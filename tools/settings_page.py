"""docs/settings.md from the stages' config.py: every setting with its default, choices and reason.   python -m tools.settings_page"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

from flows.cli.settings import _kind, _value
from flows.ui.field_docs import field_docs
from stages.graph import every_stage

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
HEAD = """# Settings

Made by `python -m tools.settings_page` from the stages' `config.py`; not edited by hand. Set them on the command line
(`twin reconstruct ... depth.method=sgm`), in the form of the UI, or in the capture's `twin.yaml`; profiles set some of them
(`configs/profile/`). `twin settings` prints the same.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(
        f"\n## {s.name}\n\n{_table(s.name, s.Config)}" for s in every_stage() if dataclasses.fields(s.Config)
    )


def _table(stage: str, cls: type) -> str:
    hints, texts = typing.get_type_hints(cls), field_docs(cls)
    rows = ["| setting | default | values | meaning |", "|---|---|---|---|"]
    for f in dataclasses.fields(cls):
        only = f.metadata.get("only_for", ())
        meaning = " ".join(texts.get(f.name, "").split()) + (f" (only for method {' or '.join(only)})" if only else "")
        rows.append(
            "| "
            + " | ".join(map(_cell, (f"`{stage}.{f.name}`", _value(f.default), _kind(hints[f.name]), meaning)))
            + " |"
        )
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
