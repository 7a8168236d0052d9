"""What a run leaves in its folder: metrics, curves, codes, and pictures. Needs the extra ``plots``."""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hashcenters import plots
from hashcenters.centers.randomness import GRID_STREAM, random_stream
from hashcenters.checks import check_count, check_labels
from hashcenters.retrieval import HammingIndex, RetrievalResult
from hashcenters.retrieval.codes import to_packed
from hashcenters.training.files import write_atomically, write_json

try:
    from matplotlib.figure import Figure
    from PIL import Image
except ModuleNotFoundError as error:
    raise ImportError(
        f'{error}; pictures of a run need matplotlib and pillow: pip install "hashcenters[plots]"', name=error.name
    ) from error

__all__ = ["Thumbnail", "write_results"]

Thumbnail: TypeAlias = Callable[[int, Literal["database", "queries"]], Image.Image]

_POINTS = 200  # of a curve over the number of returned items
_HEAT_MAP_CLASSES = 20  # as in Figure 8
_PIXELS = 112  # longer side of a thumbnail


def write_results(
    folder: str | PathLike[str],
    result: RetrievalResult,
    *,
    database: tuple[Tensor, Tensor],
    queries: tuple[Tensor, Tensor],
    database_paths: Sequence[str] | None,
    query_paths: Sequence[str] | None,
    class_names: Sequence[str],
    centers: Tensor | None = None,
    thumbnail: Thumbnail | None = None,
    config: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    n_grid_queries: int = 8,
    n_neighbors: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Write what an evaluation found into a run's folder, each file as a whole or not at all.

    - ``metrics.json``: mean average precision with its span over tie orders, its bootstrap interval and its value for
      each class, and ``result.as_dict()``;
    - ``curves.json``, ``curves.png``: precision and recall at N (at most 200 of them) and by radius (Figure 5);
    - ``codes.npz``: packed codes ``database`` and ``query``; ``database_labels``, ``database_paths``, ``query_labels``,
      ``query_paths``; ``n_bits`` and ``class_names``. ``numpy.load`` reads it without pickle;
    - ``neighbors.json``, ``neighbors.png``: some queries and their nearest items (Figure 7); items at the same distance
      come by their position. The picture needs ``thumbnail``;
    - ``centers.png``: distances of the queries' codes to the centers of 20 classes (Figure 8); needs ``centers``;
    - ``training.png``: loss and validation by epoch, if the folder holds ``log.jsonl``;
    - ``config.json``, if ``config`` is given.

    Args:
        folder: where to write; made if need be.
        result: the metrics.
        database: codes, packed uint8 (N, ceil(n_bits / 8)), and labels, int64 (N,) or multi-hot (N, n_classes).
        queries: the same of the queries.
        database_paths: a name for each item; None numbers them.
        query_paths: a name for each query.
        class_names: a name for each class.
        centers: float (n_classes, n_bits) of ±1.
        thumbnail: called with a position and ``"queries"`` or ``"database"``, returns a small PIL image. An image that
            cannot be read (``OSError``) is left out.
        config: what the run was made by.
        extra: further entries of ``metrics.json``, e.g. the seconds of training.
        n_grid_queries: how many queries to show, drawn from those that have labels.
        n_neighbors: how many nearest items to show for each.
        seed: of the drawing and of the bootstrap.

    Returns:
        What was written into ``metrics.json``.

    Raises:
        TypeError: wrong type of codes or labels.
        ValueError: codes of another length than ``result.n_bits``, labels or names that do not fit, or ``extra`` with a
            key that the metrics have.
        OSError: a file cannot be written.

    Examples:
        >>> import tempfile, torch
        >>> from hashcenters import HammingRetrievalEvaluator
        >>> from hashcenters.retrieval import pack
        >>> codes, labels = torch.tensor([[1.0] * 8, [-1.0] * 8]), torch.tensor([0, 1])
        >>> evaluator = HammingRetrievalEvaluator(8, top_k=2)
        >>> evaluator.add_database(codes, labels)
        >>> evaluator.add_queries(codes, labels)
        >>> items = (pack(codes), labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     metrics = write_results(folder, evaluator.compute(), database=items, queries=items,
        ...                             database_paths=None, query_paths=None, class_names=["cat", "dog"])
        ...     sorted(file.name for file in Path(folder).iterdir())
        ['codes.npz', 'curves.json', 'curves.png', 'metrics.json', 'neighbors.json']
        >>> metrics["map"], metrics["map_by_class"][1]
        (1.0, {'class': 1, 'name': 'dog', 'map': 1.0})
    """
    n_bits = result.n_bits
    check_count(n_grid_queries, "n_grid_queries")
    check_count(n_neighbors, "n_neighbors")
    parts = {"database": (database, database_paths), "queries": (queries, query_paths)}
    packed: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, NDArray[Any]] = {}
    names: dict[str, list[str]] = {}
    for part, ((part_codes, part_labels), paths) in parts.items():
        packed[part] = to_packed(part_codes.detach().cpu(), n_bits, name=f"{part} codes")
        check_labels(part_labels, len(class_names), n_rows=len(packed[part]))
        labels[part] = part_labels.detach().cpu().numpy()
        names[part] = [f"item {i}" for i in range(len(packed[part]))] if paths is None else [str(p) for p in paths]
        if len(names[part]) != len(packed[part]):
            raise ValueError(f"{part}: one path a code is needed, got {len(names[part])} for {len(packed[part])} codes")
    metrics = _metrics(result, class_names, seed)
    if taken := sorted(metrics.keys() & (extra or {}).keys()):
        raise ValueError(f"extra must not replace metrics, got {', '.join(taken)}; use other keys")
    metrics |= dict(extra or {})

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("centers.png", "neighbors.png", "training.png"):  # of an earlier evaluation that had more to show
        (folder / name).unlink(missing_ok=True)
    if config is not None:
        write_json(folder / "config.json", config)
    write_json(folder / "curves.json", _curves(result))
    write_atomically(folder / "codes.npz", _archive(packed, labels, names, class_names, n_bits))
    shown = _shown_queries(labels["queries"], n_grid_queries, seed)
    entries, pictures = _neighbors(shown, packed, labels, names, class_names, n_bits, n_neighbors, thumbnail)
    write_json(folder / "neighbors.json", entries)

    write_atomically(folder / "curves.png", _draw_curves(result))
    if thumbnail is not None and entries:
        several = labels["queries"].ndim == 2
        write_atomically(folder / "neighbors.png", _draw_neighbors(entries, pictures, with_shared=several))
    if centers is not None:
        write_atomically(folder / "centers.png", _draw_centers(packed["queries"], labels["queries"], centers))
    if (drawn := _draw_training(folder / "log.jsonl")) is not None:
        write_atomically(folder / "training.png", drawn)
    write_json(folder / "metrics.json", metrics)  # last: where it stands, all is there
    return metrics


def _metrics(result: RetrievalResult, class_names: Sequence[str], seed: int) -> dict[str, Any]:
    evaluated = bool(np.isfinite(result.per_query.expected.numpy()).any())
    by_class = [
        {"class": int(label), "name": str(class_names[label]), "map": float(value)}
        for label, value in sorted(result.map_by_class.items())
    ]
    return result.as_dict() | {
        "map": result.map,
        "map_best": result.map_best,
        "map_worst": result.map_worst,
        "map_interval": list(result.map_interval(seed=seed)) if evaluated else None,
        "map_by_class": by_class,
        "n_bits": result.n_bits,
        "top_k": result.top_k,
        "radius": result.radius,
        "ap_denominator": result.ap_denominator,
    }


def _curves(result: RetrievalResult) -> dict[str, Any]:
    longest = len(result.precision_at_n)
    # Evenly spaced on a logarithmic scale: curves bend where few items are returned.
    n = np.unique(np.geomspace(1, longest, min(longest, _POINTS)).round().astype(np.int64))
    if longest <= _POINTS:
        n = np.arange(1, longest + 1)
    return {
        "n_bits": result.n_bits,
        "at_n": {
            "n": n.tolist(),
            "precision": result.precision_at_n[n - 1].tolist(),
            "recall": result.recall_at_n[n - 1].tolist(),
        },
        "precision_recall": {
            "radius": list(range(result.n_bits + 1)),
            "precision": result.precision_recall.precision.tolist(),
            "recall": result.precision_recall.recall.tolist(),
        },
        "within_radius": {
            "radius": list(range(result.n_bits + 1)),
            "precision": result.precision_within_radius.tolist(),
            "recall": result.recall_within_radius.tolist(),
            "candidates": result.candidates_within_radius.tolist(),
            "empty": result.empty_share.tolist(),
        },
    }


def _archive(
    packed: Mapping[str, NDArray[np.uint8]],
    labels: Mapping[str, NDArray[Any]],
    names: Mapping[str, Sequence[str]],
    class_names: Sequence[str],
    n_bits: int,
) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"n_bits": np.array(n_bits), "class_names": np.array(class_names, dtype=np.str_)}
    for part, name in (("database", "database"), ("queries", "query")):
        arrays |= {
            name: packed[part],
            f"{name}_labels": labels[part],
            f"{name}_paths": np.array(names[part], dtype=np.str_),
        }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _shown_queries(labels: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Draw queries that have a label, in the order of their positions."""
    labelled = np.flatnonzero(labels.any(axis=1)) if labels.ndim == 2 else np.arange(len(labels))
    words = random_stream(seed, GRID_STREAM).random_raw(len(labels))[labelled]
    return np.sort(labelled[np.argsort(words, kind="stable")[:count]])


def _neighbors(
    shown: NDArray[np.int64],
    packed: Mapping[str, NDArray[np.uint8]],
    labels: Mapping[str, NDArray[Any]],
    names: Mapping[str, Sequence[str]],
    class_names: Sequence[str],
    n_bits: int,
    n_neighbors: int,
    thumbnail: Thumbnail | None,
) -> tuple[list[dict[str, Any]], list[list[Image.Image | None]]]:
    """Return the entries of neighbors.json, and for each its pictures, the query's first."""
    if not len(shown):
        return [], []

    def entry(i: int, part: Literal["database", "queries"]) -> tuple[dict[str, Any], Image.Image | None]:
        picture = None if thumbnail is None else _small(thumbnail, i, part)
        described = {
            "name": names[part][i],
            "labels": [str(class_names[label]) for label in sorted(label_sets[part, i])],
            "thumbnail": None if picture is None else _jpeg(picture),
        }
        return described, picture

    index = HammingIndex(n_bits)
    index.add(packed["database"])
    found = index.search(packed["queries"][shown], min(n_neighbors, len(index)))
    entries, pictures = [], []
    label_sets: dict[tuple[str, int], set[int]] = {}
    for query, distances, ids in zip(shown.tolist(), found.distances.tolist(), found.ids.tolist(), strict=True):
        label_sets["queries", query] = _label_set(labels["queries"][query])
        asked, picture = entry(query, "queries")
        row, its_pictures = [], [picture]
        for item, distance in zip(ids, distances, strict=True):
            label_sets["database", item] = _label_set(labels["database"][item])
            shared = len(label_sets["queries", query] & label_sets["database", item])
            described, picture = entry(item, "database")
            row.append(described | {"distance": distance, "shared": shared, "relevant": shared > 0})
            its_pictures.append(picture)
        entries.append({"query": asked, "neighbors": row})
        pictures.append(its_pictures)
    return entries, pictures


def _label_set(row: NDArray[Any]) -> set[int]:
    return set(np.flatnonzero(row).tolist()) if row.ndim else {int(row)}


def _small(thumbnail: Thumbnail, i: int, part: Literal["database", "queries"]) -> Image.Image | None:
    try:
        picture = thumbnail(i, part).convert("RGB")
    except OSError:  # after a whole training, one unreadable image should not cost the rest
        return None
    picture.thumbnail((_PIXELS, _PIXELS))
    return picture


def _jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


# Figures of their own, without pyplot: nothing stays in its list, and a window system is never asked for.


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")  # names in any script
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_curves(result: RetrievalResult) -> bytes:
    figure = Figure(figsize=(12.0, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    plots.precision_recall_curve(result, left)
    plots.precision_at_n(result, middle)
    plots.precision_within_radius(result, right)
    return _png(figure)


def _draw_centers(codes: NDArray[np.uint8], labels: NDArray[Any], centers: Tensor) -> bytes:
    figure = Figure(figsize=(5.6, 4.8), layout="compressed")
    plots.center_distance_heatmap(codes, labels, centers, figure.subplots(), max_classes=_HEAT_MAP_CLASSES)
    return _png(figure)


def _draw_neighbors(
    entries: Sequence[Mapping[str, Any]], pictures: Sequence[Sequence[Image.Image | None]], *, with_shared: bool
) -> bytes:
    rows = [entry["neighbors"] for entry in entries]
    shape = (len(rows), 1 + max(len(row) for row in rows))
    figure = Figure(figsize=(1.05 * shape[1], 1.5 * shape[0]), layout="constrained")
    plots.neighbor_grid(
        [row[0] for row in pictures],
        [row[1:] for row in pictures],
        [[item["relevant"] for item in row] for row in rows],
        shared=[[item["shared"] for item in row] for row in rows] if with_shared else None,
        captions=[_short(", ".join(entry["query"]["labels"])) for entry in entries],
        axes=figure.subplots(*shape, squeeze=False),
    )
    return _png(figure)


def _short(text: str) -> str:
    text = text.encode("utf-8", "replace").decode("utf-8")  # names need not be valid unicode, fonts want it
    return text if len(text) <= 100 else text[:99] + "…"


def _draw_training(path: Path) -> bytes | None:
    """Draw the log; None if there is no log, or nothing in it that can be drawn."""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        return None
    lines = {
        name: [
            (record["epoch"], record[name])
            for record in records
            if isinstance(record.get("epoch"), int) and isinstance(record.get(name), int | float)
        ]
        for name in ("loss", "map")
    }
    drawn = {name: points for name, points in lines.items() if points}
    if not drawn:
        return None
    figure = Figure(figsize=(4.4 * len(drawn), 3.1), layout="constrained")
    for ax, (name, points) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        ax.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1.4, color="#3f90da")
        ax.set(xlabel="epoch", ylabel={"loss": "training loss", "map": "validation mAP"}[name])
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="0.9", linewidth=0.6)
    return _png(figure)
