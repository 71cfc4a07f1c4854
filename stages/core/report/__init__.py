"""The record of a run: `run.json` for machines and the self-contained page `report.html` for people."""

from stages.core.report.left_out import left_out
from stages.core.report.page import write_report
from stages.core.report.run_record import write_run_json

__all__ = ["left_out", "write_report", "write_run_json"]
