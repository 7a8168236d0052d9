"""Reading runs' folders. What is missing, damaged or odd is noted, and never stops the reading of the rest."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import hashcenters
from hashcenters.report.paper import PAPER_DATA, PaperValue, paper_value

__all__ = ["RunRecord", "collect", "number", "numbers", "text"]

_SELECTIONS = {"held-out": "held-out", "last": "last epoch", "test": "test queries (optimistic)"}
_CLOSE_TRAINING = 0.05  # Table 1 rounds these
_IMAGE_SIZE = 224
_CLOSE = 0.01  # relative difference of sizes that is no difference: lists in use differ by some images
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class RunRecord:
    """A run, as its folder tells it.

    Attributes:
        folder: where it lies.
        name: the folder's name, with its parent's if two runs have the same.
        config: content of config.json; empty where there is none, as are the next four.
        metrics: content of metrics.json.
        curves: content of curves.json.
        neighbors: content of neighbors.json.
        log: the lines of log.jsonl.
        heat_map: content of centers.png.
        problems: what is missing, damaged or of another version.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    curves: dict[str, Any] = field(repr=False)
    neighbors: list[Any] = field(repr=False)
    log: list[dict[str, Any]] = field(repr=False)
    heat_map: bytes | None = field(repr=False)
    problems: tuple[str, ...]

    @property
    def data(self) -> dict[str, Any]:
        """What config.json says of the data."""
        return _mapping(self.config.get("data"))

    @property
    def recipe(self) -> dict[str, Any]:
        """What config.json says of the training."""
        return _mapping(self.config.get("recipe"))

    @property
    def dataset(self) -> str:
        """Name of the data set, or ""."""
        return text(self.data, "name")

    @property
    def method(self) -> str:
        """Name of the method; "ours" where the preset is."""
        method = text(self.recipe, "method")
        return "ours" if method == "csq" and text(self.recipe, "preset") == "ours" else method

    @property
    def backbone(self) -> str:
        """Name of the network, or ""."""
        return text(self.recipe, "backbone")

    @property
    def n_bits(self) -> int | None:
        """Code length."""
        n_bits = number(self.metrics, "n_bits")
        n_bits = number(self.recipe, "n_bits") if n_bits is None else n_bits
        return None if n_bits is None else int(n_bits)

    @property
    def map(self) -> float | None:
        """Mean average precision, expected over tie orders."""
        return number(self.metrics, "map")

    @property
    def paper(self) -> PaperValue | None:
        """The paper's number that stands beside it."""
        return None if self.n_bits is None else paper_value(self.dataset, self.method, self.backbone, self.n_bits)

    @property
    def difference(self) -> float | None:
        """Points of mean average precision above the paper's number."""
        return None if self.map is None or self.paper is None else 100 * (self.map - self.paper.map)

    @property
    def selection(self) -> str:
        """How the weights were selected, in words."""
        chosen = text(self.config, "selection") or text(self.metrics, "selection")
        return _SELECTIONS.get(chosen, chosen)

    def within_radius(self, name: str, radius: int = 2) -> float | None:
        """Return the value at a Hamming radius of a curve: "precision", "recall", "empty" or "candidates"."""
        values = numbers(_mapping(self.curves.get("within_radius")), name)
        if values:
            return values[min(radius, len(values) - 1)]
        return number(self.metrics, f"{name}@r{radius}")

    def count(self, part: str) -> float | None:
        """Return the size of a part of the data, "train", "queries" or "database", or its "imbalance"."""
        for key in {"imbalance": ("imbalance", "data_imbalance")}.get(part, (part, f"n_{part}")):
            if (found := number(self.data, key)) is not None:
                return found
        return number(self.metrics, f"n_{part}")

    def reservations(self) -> list[str]:
        """Return why the run cannot be compared with the paper's number; empty where it can, or there is no number."""
        paper, protocol = self.paper, PAPER_DATA.get(self.dataset)
        if paper is None or protocol is None or self.map is None:
            return []
        notes = []
        sizes = (
            ("database", "items in the database", protocol.n_database, _CLOSE),
            ("queries", "queries", protocol.n_queries, _CLOSE),
            ("train", "training items", protocol.n_train, _CLOSE_TRAINING),
        )
        for part, what, expected, close in sizes:
            size = self.count(part)
            if size is not None and abs(size - expected) > close * expected:
                notes.append(f"{size:,.0f} {what}, the paper has {expected:,}")
        if paper.backbone not in ("any", self.backbone.lower().split(".")[0]):
            notes.append(f"backbone {self.backbone or 'unknown'}, the paper's number is of {paper.backbone}")
        if self.recipe.get("pretrained") is False and not self.recipe.get("weights"):
            notes.append("the backbone began with random weights, the paper's with those of ImageNet or Kinetics")
        image_size = number(self.recipe, "image_size")
        if image_size is not None and image_size < _IMAGE_SIZE:
            notes.append(f"pictures of {image_size:.0f} pixels, where {_IMAGE_SIZE} are usual")
        top_k = self.metrics.get("top_k")
        if top_k != protocol.top_k:
            notes.append(f"mAP{_cut(top_k)}, the paper has mAP@{protocol.top_k}")
        denominator = text(self.metrics, "ap_denominator")
        if denominator != "retrieved":
            notes.append(
                f"AP is divided by {denominator or 'an unknown number'}, in the paper by the relevant retrieved"
            )
        return notes

    def remarks(self) -> list[str]:
        """Return what to know about the run's numbers, beside the reservations."""
        notes = []
        if self.paper is not None and self.paper.method != self.method:
            notes.append(f"beside the paper's {self.paper.method.upper()}")
        if self.paper is not None and self.paper.backbone == "any":
            notes.append("the paper took its number over from earlier works")
        if self.selection == _SELECTIONS["test"]:
            notes.append("the best epoch was chosen by the test queries: the number is too good")
        for key, words in (
            ("n_without_labels", "queries without labels left out"),
            ("n_without_relevant", "queries without relevant items count 0"),
        ):
            if count := number(self.metrics, key):
                notes.append(f"{count:,.0f} {words}")
        if skipped := number(self.data, "skipped"):
            notes.append(f"{skipped:,.0f} unreadable items left out")
        return notes


def collect(folders: Iterable[str | PathLike[str]]) -> list[RunRecord]:
    """Read the folders of runs.

    Args:
        folders: one a run. A folder that is missing, unfinished or damaged gives a record that says so.

    Returns:
        The runs, in this order.

    Examples:
        >>> collect(["no/such/run"])[0].problems
        ('there is no such folder',)
    """
    paths = [Path(folder) for folder in folders]
    names = Counter(path.resolve().name for path in paths)
    return [_read(path, names[path.resolve().name] > 1) for path in paths]


def _read(folder: Path, ambiguous: bool) -> RunRecord:
    parts = folder.resolve().parts[-2 if ambiguous else -1 :]
    problems: list[str] = []
    if not folder.is_dir():
        problems.append("there is no such folder")
        return RunRecord(folder, "/".join(parts), {}, {}, {}, [], [], None, tuple(problems))
    config = _mapping(_read_json(folder / "config.json", dict, problems))
    metrics = _mapping(_read_json(folder / "metrics.json", dict, problems))
    finished = (folder / "metrics.json").exists()
    curves = _mapping(_read_json(folder / "curves.json", dict, problems if finished else []))
    neighbors = _read_json(folder / "neighbors.json", list, problems if finished else []) or []
    if metrics and number(metrics, "map") is None:
        problems.append("metrics.json has no mAP")
    version = config.get("version")
    if config and (not isinstance(version, str) or _series(version) != _series(hashcenters.__version__)):
        shown = version if isinstance(version, str) else "unknown"
        problems.append(f"written by version {shown}, read by {hashcenters.__version__}: entries may be missing")
    return RunRecord(
        folder,
        "/".join(parts),
        config,
        metrics,
        curves,
        neighbors,
        _read_log(folder / "log.jsonl", problems),
        _read_picture(folder / "centers.png", problems),
        tuple(problems),
    )


def _read_json(path: Path, kind: type, problems: list[str]) -> Any:  # noqa: ANN401 -- a JSON value
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        unfinished = path.name == "metrics.json"
        problems.append(f"{path.name} is missing{': the run is not finished' if unfinished else ''}")
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror or error})")
    except (ValueError, RecursionError):
        problems.append(f"{path.name} is damaged: no JSON")
    else:
        if isinstance(value, kind):
            return value
        problems.append(f"{path.name} is damaged: no {'object' if kind is dict else 'list'}")
    return None


def _read_log(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []  # shallow methods have no epochs
    except (OSError, ValueError):
        problems.append("log.jsonl cannot be read")
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            records.append(record)
    if len(records) < len([line for line in lines if line.strip()]):
        problems.append("log.jsonl has lines that are damaged")
    return records


def _read_picture(path: Path, problems: list[str]) -> bytes | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror or error})")
        return None
    if not data.startswith(_PNG):
        problems.append(f"{path.name} is damaged: no PNG")
        return None
    return data


def _series(version: str) -> list[str]:
    return version.split(".")[:2]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _cut(top_k: object) -> str:
    return "" if top_k is None else f"@{top_k}"


def number(mapping: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number of a JSON object, or None.

    Args:
        mapping: the object.
        key: name of the entry.

    Returns:
        The number; None where there is none, or something else.

    Examples:
        >>> number({"map": 0.5, "n": True}, "map"), number({"map": 0.5, "n": True}, "n")
        (0.5, None)
    """
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an int too large for a float
        return None
    return value if finite else None


def numbers(mapping: Mapping[str, Any], key: str) -> list[float | None]:
    """Return a list of numbers of a JSON object; None stands where an element is no finite number.

    Args:
        mapping: the object.
        key: name of the entry.

    Returns:
        The list; empty where there is none.

    Examples:
        >>> numbers({"y": [0.5, None, "a"]}, "y")
        [0.5, None, None]
    """
    values = mapping.get(key)
    return [number({"": value}, "") for value in values] if isinstance(values, list) else []


def text(mapping: Mapping[str, Any], key: str) -> str:
    """Return a string of a JSON object, or "".

    Args:
        mapping: the object.
        key: name of the entry.

    Returns:
        The string; "" where there is none, or something else.

    Examples:
        >>> text({"name": "coco"}, "name"), text({"name": 3}, "name")
        ('coco', '')
    """
    value = mapping.get(key)
    return value if isinstance(value, str) else ""
