"""What both reports say of a run."""

from __future__ import annotations

import unicodedata

from hashcenters.report.paper import METHOD_NAMES, PAPER_DATA
from hashcenters.report.records import RunRecord, number, numbers

__all__ = ["HEADINGS", "clean", "dataset_name", "duration", "method_name", "summary"]

HEADINGS = (
    "Run",
    "Data",
    "Method",
    "Backbone",
    "Bits",
    "mAP",
    "Ties",
    "95 % interval",
    "Paper",
    "Points",
    "P@H≤2",
    "Empty",
    "Training",
    "Selected by",
)
_NONE = "–"
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(value: str) -> str:
    r"""Replace what cannot be shown, or would turn the text around it.

    Args:
        value: text from anywhere.

    Returns:
        The text; control characters, halves of surrogate pairs and marks of direction have become U+FFFD.

    Examples:
        >>> clean("a\x00b")
        'a�b'
    """
    return "".join(
        "\ufffd" if c in _BIDI or (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") else c for c in value
    )


def dataset_name(run: RunRecord) -> str:
    """Return how the paper calls a run's data set, or the run's own word.

    Args:
        run: the run.

    Returns:
        The name, or a dash.
    """
    return PAPER_DATA[run.dataset].name if run.dataset in PAPER_DATA else run.dataset or _NONE


def method_name(run: RunRecord) -> str:
    """Return how the paper calls a run's method, or the run's own word.

    Args:
        run: the run.

    Returns:
        The name, or a dash.
    """
    return METHOD_NAMES.get(run.method, run.method) or _NONE


def duration(seconds: float | None) -> str:
    """Write a time for reading.

    Args:
        seconds: the time, or None.

    Returns:
        Seconds, minutes or hours.

    Examples:
        >>> duration(4.25), duration(312), duration(7500)
        ('4.2 s', '5 min 12 s', '2 h 05 min')
    """
    if seconds is None or seconds < 0:
        return _NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def summary(run: RunRecord) -> list[str]:
    """Return the cells of a run's row, under ``HEADINGS``.

    Args:
        run: the run.

    Returns:
        Plain text, to be escaped.
    """
    metrics = run.metrics
    ties = [number(metrics, name) for name in ("map_worst", "map_best")]
    interval = numbers(metrics, "map_interval")
    top_k = number(metrics, "top_k")
    difference = run.difference
    points = _NONE if difference is None else f"{difference:+.1f}".replace("-", "−")
    if run.problems and run.map is None:
        value = "no result"
    else:
        value = _share(run.map) + ("" if top_k is None or run.map is None else f" (@{top_k:.0f})")
    empty = run.within_radius("empty")
    return [
        run.name,
        dataset_name(run),
        method_name(run),
        run.backbone or _NONE,
        _NONE if run.n_bits is None else str(run.n_bits),
        value,
        _span(ties),
        _span(interval),
        _NONE if run.paper is None else _share(run.paper.map),
        points + ("*" if run.reservations() else ""),
        _share(run.within_radius("precision")),
        _NONE if empty is None else f"{empty:.1%}",
        duration(number(metrics, "seconds_training")),
        run.selection or _NONE,
    ]


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _span(values: list[float | None]) -> str:
    return _NONE if len(values) != 2 or None in values else f"{_share(values[0])}–{_share(values[1])}"
