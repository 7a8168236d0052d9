"""The runs as one HTML page that needs nothing beside it: no script, no network, pictures inside."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import hashcenters
from hashcenters.report.charts import DASHES, N_STYLES, Series, line_chart
from hashcenters.report.paper import PAPER_DATA
from hashcenters.report.records import RunRecord, number, numbers, text
from hashcenters.report.style import STYLE
from hashcenters.report.words import HEADINGS, clean, dataset_name, method_name, summary

__all__ = ["to_html"]

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def to_html(runs: Sequence[RunRecord]) -> str:
    """Write the runs as one page: a table beside the paper's numbers, curves side by side, and each run by itself.

    Args:
        runs: the runs, of ``collect``.

    Returns:
        HTML, to be encoded as UTF-8. It loads nothing and runs nothing; all text from files is escaped.

    Examples:
        >>> from hashcenters.report import collect
        >>> "there is no such folder" in to_html(collect(["no/such/run"]))
        True
    """
    count = f"{len(runs)} run{'' if len(runs) == 1 else 's'}"
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Whatever a file name might smuggle in: the browser is told to load and run nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        f"<title>Retrieval by hash centers</title><style>{STYLE}</style></head><body>",
        "<h1>Retrieval by hash centers</h1>",
        f'<p class="soft">{_text(count)}, hashcenters {_text(hashcenters.__version__)}. '
        "mAP is its expectation over the orders of tied items; “Ties” is its span over these orders, the interval a "
        "bootstrap over queries. “Paper” is Yuan et al., CVPR 2020, “Points” the difference in hundredths. "
        "P@H≤2 is the precision within Hamming radius 2, an empty ball counting 0; “Empty” is the share of these.</p>",
        _summary(runs),
    ]
    for dataset in dict.fromkeys(run.dataset for run in runs):
        parts.append(_comparison([run for run in runs if run.dataset == dataset]))
    parts += [_run(i, run, runs) for i, run in enumerate(runs)]
    return "\n".join([*(part for part in parts if part), "</body></html>", ""])


def _text(value: object) -> str:
    return escape(clean(str(value)), quote=True)


def _table(rows: Iterable[Sequence[object]], headings: Sequence[str], kind: str = "") -> str:
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _summary(runs: Sequence[RunRecord]) -> str:
    first_number = HEADINGS.index("Bits")
    head = "".join(
        f'<th scope="col"{_kind(i >= first_number and name != "Selected by")}>{_text(name)}</th>'
        for i, name in enumerate(HEADINGS)
    )
    rows = []
    for i, run in enumerate(runs):
        name, *cells = summary(run)
        row = f'<td><a href="#run-{i}">{_text(name)}</a></td>'
        for heading, cell in zip(HEADINGS[1:], cells, strict=True):
            is_number = HEADINGS.index(heading) >= first_number and heading != "Selected by"
            row += f"<td{_kind(is_number, heading == 'mAP')}>{_text(cell)}</td>"
        rows.append(f"<tr>{row}</tr>")
    star = (
        '<p class="soft">* Not comparable with the paper’s number; the run’s own part says why.</p>'
        if any(run.reservations() for run in runs)
        else ""
    )
    table = f'<table class="summary"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>{star}'


def _kind(is_number: bool, is_main: bool = False) -> str:
    names = [name for name, holds in (("number", is_number), ("main", is_main)) if holds]
    return f' class="{" ".join(names)}"' if names else ""


def _comparison(runs: Sequence[RunRecord]) -> str:
    """Draw the curves of a data set's runs (Figures 5 and 6)."""
    shown = [run for run in runs if run.curves]
    recall, at_n, by_bits = [], [], []
    for style, run in enumerate(shown):
        curve, returned = _mapping(run.curves.get("precision_recall")), _mapping(run.curves.get("at_n"))
        recall.append(Series(run.name, _points(numbers(curve, "recall"), numbers(curve, "precision")), style))
        at_n.append(Series(run.name, _points(numbers(returned, "n"), numbers(returned, "precision")), style))
    groups: dict[str, list[tuple[float, float | None]]] = {}
    for run in shown:
        precision = run.within_radius("precision")
        if run.n_bits is not None and precision is not None:
            preset = text(run.recipe, "preset")
            name = ", ".join(part for part in (method_name(run), preset, run.backbone) if part)
            groups.setdefault(name, []).append((run.n_bits, precision))
    bits = sorted({bits for points in groups.values() for bits, _ in points})
    by_bits = [
        Series(name, sorted(points, key=lambda point: point[0]), i) for i, (name, points) in enumerate(groups.items())
    ]
    charts = [
        (line_chart(recall, xlabel="recall", ylabel="precision"), "Precision and recall, by Hamming radius"),
        (line_chart(at_n, xlabel="returned items N", ylabel="precision at N"), "Precision of the first N items"),
        (
            line_chart(by_bits, xlabel="code length (bits)", ylabel="precision within radius 2", ticks=bits),
            "Precision within Hamming radius 2, an empty ball counting 0",
        ),
    ]
    figures = [f"<figure>{chart}<figcaption>{caption}</figcaption></figure>" for chart, caption in charts if chart]
    if not figures:
        return ""
    legend = _legend([(series.name, series.style) for series in recall])
    groups_legend = _legend([(series.name, series.style) for series in by_bits])
    title = _text(dataset_name(shown[0]))
    return (
        f'<section><h2>Curves: {title}</h2><p class="soft">First and second chart:</p>{legend}'
        f'<p class="soft">Third chart:</p>{groups_legend}<div class="charts">{"".join(figures)}</div></section>'
    )


def _legend(names: Sequence[tuple[str, int]]) -> str:
    items = []
    for name, style in names:
        dash = DASHES[style % len(DASHES)]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        line = (
            f'<svg viewBox="0 0 34 10" aria-hidden="true"><path class="s{style % N_STYLES}"{dashes} d="M0 5H34"/></svg>'
        )
        items.append(f"<li>{line}{_text(name)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _points(xs: Sequence[float | None], ys: Sequence[float | None]) -> list[tuple[float, float | None]]:
    return [(x, y) for x, y in zip(xs, ys, strict=False) if x is not None]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _run(i: int, run: RunRecord, runs: Sequence[RunRecord]) -> str:
    name, data, method, backbone, bits, value, *_ = summary(run)
    parts = [f'<section id="run-{i}"><h2>{_text(name)}</h2>']
    about = [
        data,
        method,
        backbone,
        f"{bits} bits" if run.n_bits is not None else "–",
        f"mAP {value}" if run.map is not None else value,
    ]
    parts.append(f"<p>{_text(' · '.join(part for part in about if part != '–'))}</p>")
    warnings = [
        *run.problems,
        *(f"not comparable with the paper: {note}" for note in run.reservations()),
        *run.remarks(),
    ]
    if warnings:
        items = "".join(f"<li>⚠ {_text(warning)}</li>" for warning in warnings)
        parts.append(f'<ul class="warnings">{items}</ul>')
    parts.append(f'<div class="pair">{_counts(run)}{_settings(run, runs)}</div>')
    quirks = run.recipe.get("quirks")
    if isinstance(quirks, list) and quirks:
        items = "".join(f"<li>{_text(quirk)}</li>" for quirk in quirks)
        parts.append(f"<h3>Choices and quirks of the recipe</h3><ul>{items}</ul>")
    parts += [_training(run), _classes(run), _heat_map(run), _neighbors(run), _all_settings(run), "</section>"]
    return "\n".join(part for part in parts if part)


def _counts(run: RunRecord) -> str:
    protocol = PAPER_DATA.get(run.dataset)
    rows = []
    for part, label, paper in (
        ("train", "training items", protocol and protocol.n_train),
        ("queries", "queries", protocol and protocol.n_queries),
        ("database", "database items", protocol and protocol.n_database),
        ("imbalance", "dissimilar pairs a similar one", protocol and protocol.imbalance),
    ):
        found = run.count(part)
        if found is not None:
            shown = f"{found:,.1f}" if part == "imbalance" else f"{found:,.0f}"
            rows.append((label, shown, "–" if paper is None else f"{paper:,}"))
    return f"<div><h3>Data</h3>{_table(rows, ('', 'this run', 'paper, Table 1'))}</div>" if rows else ""


def _settings(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    """List the settings in which the runs of this data set differ."""
    others = [other.recipe for other in runs if other.dataset == run.dataset and other.recipe]
    names = [name for name in run.recipe if name != "quirks" and len({_plain(other.get(name)) for other in others}) > 1]
    if len(others) < 2 or not names:
        return ""
    rows = [(name, _plain(run.recipe[name])) for name in names]
    return f"<div><h3>Where the runs’ settings differ</h3>{_table(rows, ('setting', 'this run'))}</div>"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _all_settings(run: RunRecord) -> str:
    parts = []
    options = _mapping(run.config.get("options"))
    settings = [(name, _plain(value)) for name, value in (*run.recipe.items(), *options.items()) if name != "quirks"]
    if settings:
        parts.append(f"<details><summary>All settings</summary>{_table(settings, ('setting', 'value'))}</details>")
    if report := text(run.data, "report"):
        parts.append(f"<details><summary>What was found of the data</summary><pre>{_text(report)}</pre></details>")
    return "".join(parts)


def _training(run: RunRecord) -> str:
    charts = []
    for key, label in (("loss", "training loss"), ("map", "validation mAP")):
        points = [(epoch, number(record, key)) for record in run.log if (epoch := number(record, "epoch")) is not None]
        known = [point for point in points if point[1] is not None]  # validation skips epochs, its line does not
        chart = line_chart([Series(label, known, 0)], xlabel="epoch", ylabel=label, unit=key == "map")
        if chart:
            charts.append(f"<figure>{chart}</figure>")
    words = []
    if (selected := number(run.metrics, "selected_epoch")) is not None:
        words.append(f"weights of epoch {selected:g}")
    if (epochs := number(run.metrics, "n_epochs")) is not None:
        words.append(f"{epochs:g} epochs trained")
    if (validation := number(run.metrics, "validation_map")) is not None:
        words.append(f"validation mAP {validation:.3f}")
    if not charts and not words:
        return ""
    return f'<h3>Training</h3><p class="soft">{_text(", ".join(words))}</p><div class="charts">{"".join(charts)}</div>'


def _classes(run: RunRecord) -> str:
    """List the classes with the least average precision."""
    rows = run.metrics.get("map_by_class")
    found = [
        (value, text(row, "name"))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict) and (value := number(row, "map")) is not None
    ]
    if len(found) < 2:
        return ""
    listed = ", ".join(f"{name} {value:.3f}" for value, name in sorted(found)[:5])
    return f"<p>Classes found worst: {_text(listed)}.</p>"


def _heat_map(run: RunRecord) -> str:
    if run.heat_map is None:
        return ""
    source = base64.b64encode(run.heat_map).decode("ascii")
    return (
        "<h3>Distances of codes to centers</h3>"
        f'<img class="heat" alt="Mean Hamming distance of each class’s codes to each center" '
        f'src="data:image/png;base64,{source}">'
    )


def _neighbors(run: RunRecord) -> str:
    entries = [_mapping(entry) for entry in run.neighbors]
    # With one label each, whether it is shared is what the mark says.
    several = any(_n_labels(item) > 1 for entry in entries for item in (entry.get("query"), *_items(entry)))
    queries = []
    for entry in entries:
        query = _mapping(entry.get("query"))
        items = _items(entry)
        if not query:
            continue
        tiles = [_tile(query, "asked", "query")] + [_found(item, several) for item in items]
        right = sum(item.get("relevant") is True for item in items)
        queries.append(
            f'<div class="query"><p>{_text(_labels(query))} <span class="soft">{right} of {len(items)} right</span></p>'
            f'<div class="row">{"".join(tiles)}</div></div>'
        )
    if not queries:
        return ""
    return (
        "<h3>Queries and their nearest items</h3>"
        '<p class="soft">✓ in a solid frame: shares a label with the query; ✗ in a dashed frame: shares none. '
        f"d is the Hamming distance{', then the number of shared labels' if several else ''}.</p>{''.join(queries)}"
    )


def _found(item: Mapping[str, Any], several: bool) -> str:
    distance, shared = number(item, "distance"), number(item, "shared")
    words = [] if distance is None else [f"d {distance:g}"]
    if several and shared is not None:
        words.append(f"{shared:g} shared")
    return _tile(item, "right" if item.get("relevant") is True else "wrong", ", ".join(words))


def _tile(item: Mapping[str, Any], kind: str, words: str) -> str:
    name, source = text(item, "name"), text(item, "thumbnail")
    title = _text(f"{name}: {_labels(item)}")
    mark = {"right": '<span class="mark">✓</span>', "wrong": '<span class="mark">✗</span>'}.get(kind, "")
    if _BASE64.fullmatch(source):
        picture = f'<img alt="{_text(name)}" src="data:image/jpeg;base64,{source}">'
    else:
        picture = "<span>no picture</span>"
    caption = f'{_text(words)}<span class="name">{_text(name.rsplit("/", 1)[-1])}</span>'  # the title has it all
    return (
        f'<figure class="tile {kind}" title="{title}"><div class="frame">{picture}{mark}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _labels(item: Mapping[str, Any]) -> str:
    labels = item.get("labels")
    return ", ".join(str(label) for label in labels) if isinstance(labels, list) else ""


def _items(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = entry.get("neighbors")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _n_labels(item: object) -> int:
    labels = _mapping(item).get("labels")
    return len(labels) if isinstance(labels, list) else 0
