"""The runs as a markdown table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hashcenters.report.records import RunRecord
from hashcenters.report.words import HEADINGS, clean, summary

__all__ = ["to_markdown"]


def to_markdown(runs: Sequence[RunRecord]) -> str:
    """Write the runs as a table, beside the paper's numbers, and under it what to know about each.

    Args:
        runs: the runs, of ``collect``.

    Returns:
        Markdown; names from files are escaped.

    Examples:
        >>> from hashcenters.report import collect
        >>> print(to_markdown(collect(["no/such/run"])).splitlines()[-1])
        - run: there is no such folder
    """
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
    lines += ["| " + " | ".join(_escape(cell) for cell in summary(run)) + " |" for run in runs]
    notes = []
    for run in runs:
        name = _escape(run.name)
        notes += [f"- {name}: {_escape(problem)}" for problem in run.problems]
        notes += [f"- {name}: not comparable with the paper: {_escape(note)}" for note in run.reservations()]
        notes += [f"- {name}: {_escape(remark)}" for remark in run.remarks()]
    if any(run.reservations() for run in runs):
        lines += ["", "\\* Not comparable with the paper's number, for the reasons below."]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _escape(value: str) -> str:
    value = " ".join(clean(value).split())
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$#!])", r"\\\1", value)
