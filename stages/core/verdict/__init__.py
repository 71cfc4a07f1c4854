"""Whether a twin can be used, why, and how far off it has to be expected: one line for people, the figures behind it for machines."""

from stages.core.verdict.facts import Facts, read_facts
from stages.core.verdict.judge import DO_NOT_USE, PARTIAL, USABLE, WORDS, Verdict, judge

__all__ = ["DO_NOT_USE", "PARTIAL", "USABLE", "WORDS", "Facts", "Verdict", "judge", "read_facts"]
