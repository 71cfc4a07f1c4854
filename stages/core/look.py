"""What is known of a capture before it is reconstructed: how it was understood, what is odd, and what stands in the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FINE, ODD, REFUSED = "fine", "odd", "refused"


@dataclass
class Look:
    """`sections`: (title, lines) in order; `odd`: warnings; `notes`: what is usual, or is mended; `refused`: message and advice of what
    ends a run, None if nothing does."""

    capture: str
    sections: list[tuple[str, list[str]]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: tuple[str, str] | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    pictures_read: int = 0
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """ "fine", "odd" or "refused"."""
        return REFUSED if self.refused else ODD if self.odd else FINE

    def lines(self) -> list[str]:
        """For a terminal or a log."""
        out = [
            f"{title:<12} {line}" if k == 0 else f"{'':<12} {line}"
            for title, lines in self.sections
            for k, line in enumerate(lines)
        ]
        out += [f"{'note' if k == 0 else '':<12} {text}" for k, text in enumerate(self.notes)]
        out += [f"{'odd' if k == 0 else '':<12} {text}" for k, text in enumerate(self.odd)]
        if self.refused:
            message, advice = self.refused
            out += [f"{'refused':<12} {message}"] + ([f"{'what to do':<12} {advice}"] if advice else [])
        return out

    def closing(self) -> str:
        """One line: the verdict."""
        if self.refused:
            return "this capture cannot be reconstructed as it is"
        count = len(self.odd)
        return f"{count} odd thing{'s' * (count > 1)}: read above before hours of work" if count else "nothing odd"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        refused = None if self.refused is None else dict(zip(("message", "advice"), self.refused, strict=True))
        return {
            "capture": self.capture,
            "verdict": self.verdict,
            "understood": dict(self.sections),
            "odd": self.odd,
            "notes": self.notes,
            "refused": refused,
            "figures": self.figures,
            "pictures_read": self.pictures_read,
            "seconds": self.seconds,
        }

    def markdown(self) -> str:
        """For the Prefect UI."""
        rows = [f"| {t} | {'<br>'.join(lines)} |" for t, lines in self.sections]
        out = ["| | |", "|---|---|", *rows]
        out += ["", "**Notes**", *(f"- {text}" for text in self.notes)] if self.notes else []
        out += ["", "**Odd**", *(f"- {text}" for text in self.odd)] if self.odd else []
        out += ["", f"**Refused**: {self.refused[0]}", "", f"**What to do**: {self.refused[1]}"] if self.refused else []
        return "\n".join(out)
