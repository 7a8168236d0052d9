"""How much of an mAP is the order in which tied items happen to come?

    python benchmarks/ties.py               # about a minute, and two more where the MNIST codes must be learned first
    python benchmarks/ties.py --ucf FILE    # where the published UCF101 codes are

Takes published 64-bit codes of UCF101 (left out where the file is absent) and 16-bit and 64-bit codes that
examples/train_mnist.py learns. Prints tables, writes a CSV file (one mAP a row) and a picture. The exit status is 1 if
an mAP lies outside what the order of ties allows.

* "expected", "best" and "worst" are the library's, over all orders of tied items; best and worst query by query.
* Everything else is average precision of what numpy.argsort makes of the distances, the relevant items retrieved being
  the divisor. "stable" keeps tied items in the order of the database; "default" is argsort without `kind`, as the code
  of the field calls it: not stable, and another algorithm on another processor.
* "sorted" and "sorted down": the database sorted by class id, up and down. "shuffled": 10 permutations.
* "default" runs again with numpy told to leave out AVX-512, and AVX2 too, as on a processor that lacks them.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hashcenters import HammingRetrievalEvaluator

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
CUTS = (100, 1000, None)  # the first is drawn; None is all items
SHUFFLES = 10
STABLE, DEFAULT, TIES = "#3f90da", "#bd1f01", "0.25"

Array: TypeAlias = npt.NDArray[Any]


class Codes(NamedTuple):
    """Packed codes of a whole number of bytes, and class ids."""

    name: str
    database: npt.NDArray[np.uint8]
    query: npt.NDArray[np.uint8]
    database_labels: npt.NDArray[np.int64]
    query_labels: npt.NDArray[np.int64]

    @property
    def n_bits(self) -> int:
        """The code length."""
        return 8 * int(self.database.shape[1])


class Row(NamedTuple):
    """One mAP: a row of the CSV. Empty fields are those that do not apply."""

    codes: str
    n_bits: int
    top_k: int | None
    database: str  # all orders, stored, sorted, sorted down, shuffled
    sort: str  # expected, best, worst; stable, default
    processor: str  # of the default sort: this one, no AVX-512, no AVX2
    seed: int | None  # of the shuffle
    map: float


def load(name: str, path: Path) -> Codes:
    with np.load(path) as file:
        labels = (file[f"{side}_labels"].astype(np.int64) for side in ("database", "query"))
        return Codes(name, file["database"], file["query"], *labels)


def learned(n_bits: int, runs: Path) -> Path:
    """Return the codes of an MNIST run, after the run where there are none."""
    folder = runs / f"mnist_{n_bits}bit"
    if not (folder / "codes.npz").exists():
        print(f"Learning {n_bits}-bit codes of MNIST, about a minute", flush=True)
        script = [sys.executable, str(ROOT / "examples" / "train_mnist.py")]
        options = ["--bits", str(n_bits), "--out", str(folder)]
        subprocess.run([*script, *options], check=True, stdout=subprocess.DEVNULL)
    return folder / "codes.npz"


# --- what an argsort gives


def distances(codes: Codes) -> npt.NDArray[np.float32]:
    """All Hamming distances (n_queries, n_items), in float32 as an inner product gives them."""
    query, database = (np.unpackbits(side, axis=1).astype(np.float32) * 2 - 1 for side in (codes.query, codes.database))
    differing: npt.NDArray[np.float32] = (codes.n_bits - query @ database.T) / 2
    return differing


def argsort_maps(codes: Codes, order: Array, distance: Array, *, stable: bool) -> list[float]:
    """Return mAP at every cut, of the database in this order."""
    values = distance[:, order].astype(np.uint8) if stable else distance[:, order]  # bytes are sorted fastest
    ranked = np.argsort(values, axis=1, kind="stable" if stable else None)
    return mean_average_precisions(codes.database_labels[order][ranked] == codes.query_labels[:, None])


def mean_average_precisions(relevant: Array) -> list[float]:
    """Return mAP at every cut of ranked relevance (n_queries, n_items), divided by the relevant items retrieved."""
    hits = np.cumsum(relevant, axis=1)
    sums = np.cumsum(relevant * hits / np.arange(1, relevant.shape[1] + 1), axis=1)
    lasts = [min(cut or relevant.shape[1], relevant.shape[1]) - 1 for cut in CUTS]
    return [float(np.mean(sums[:, last] / np.maximum(hits[:, last], 1))) for last in lasts]


def sorted_down(labels: Array) -> Array:
    return np.argsort(-labels, kind="stable")


def default_sorts(codes: Codes) -> dict[str, list[float]]:
    """Return mAPs by order of the database, of an argsort without ``kind`` on this process's instructions."""
    distance = distances(codes)
    orders = {"stored": np.arange(len(codes.database)), "sorted": np.argsort(codes.database_labels, kind="stable")}
    return {name: argsort_maps(codes, order, distance, stable=False) for name, order in orders.items()}


def lesser_processors() -> dict[str, list[str]]:
    """Return what numpy must leave out to run as on a lesser processor; nothing where it uses no such instructions."""
    found: list[str] = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    wide = [name for name in found if name.startswith("AVX512") or name == "X86_V4"]
    processors = {"no AVX-512": wide} if wide else {}
    if any(name in ("AVX2", "X86_V3") for name in found):
        processors["no AVX2"] = found
    return processors


def elsewhere(name: str, path: Path, disabled: Sequence[str]) -> dict[str, list[float]]:
    """Run ``default_sorts`` in a process that does without some instructions."""
    run = subprocess.run(
        [sys.executable, __file__, "--job", json.dumps([name, str(path)])],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)},
    )
    answer: dict[str, list[float]] = json.loads(run.stdout.splitlines()[-1])
    return answer


# --- all of it


def measure(codes: Codes, path: Path) -> Iterator[Row]:
    for cut in CUTS:
        evaluator = HammingRetrievalEvaluator(codes.n_bits, top_k=cut)
        evaluator.add_database(codes.database, codes.database_labels)
        evaluator.add_queries(codes.query, codes.query_labels)
        result = evaluator.compute()
        for name, value in (("expected", result.map), ("best", result.map_best), ("worst", result.map_worst)):
            yield Row(codes.name, codes.n_bits, cut, "all orders", name, "", None, value)

    def rows(database: str, sort: str, processor: str, seed: int | None, values: Sequence[float]) -> Iterator[Row]:
        for cut, value in zip(CUTS, values, strict=True):
            yield Row(codes.name, codes.n_bits, cut, database, sort, processor, seed, value)

    distance, n_items = distances(codes), len(codes.database)
    orders: list[tuple[str, int | None, Array]] = [
        ("stored", None, np.arange(n_items)),
        ("sorted", None, np.argsort(codes.database_labels, kind="stable")),
        ("sorted down", None, sorted_down(codes.database_labels)),
    ]
    # Sorting raw words shuffles in the same way on every platform and numpy version.
    orders += [("shuffled", seed, np.argsort(np.random.Philox(seed).random_raw(n_items))) for seed in range(SHUFFLES)]
    for database, seed, order in orders:
        yield from rows(database, "stable", "", seed, argsort_maps(codes, order, distance, stable=True))
    del distance
    for database, values in default_sorts(codes).items():
        yield from rows(database, "default", "this one", None, values)
    for processor, disabled in lesser_processors().items():
        for database, values in elsewhere(codes.name, path, disabled).items():
            yield from rows(database, "default", processor, None, values)


def find(rows: Sequence[Row], cut: int | None, database: str, sort: str, processor: str | None = None) -> list[float]:
    return [
        row.map
        for row in rows
        if (row.top_k, row.database, row.sort) == (cut, database, sort) and processor in (None, row.processor)
    ]


def within(rows: Sequence[Row]) -> bool:
    """Whether every argsort stays within best and worst."""
    return all(
        find(rows, row.top_k, "all orders", "worst")[0] - 1e-9
        <= row.map
        <= find(rows, row.top_k, "all orders", "best")[0] + 1e-9
        for row in rows
    )


def line(*fields: object) -> None:
    """Print a line of a Markdown table."""
    print("| " + " | ".join(str(field) for field in fields) + " |", flush=True)


def print_tables(codes: Codes, rows: Sequence[Row]) -> None:
    distinct = len(np.unique(codes.database, axis=0))
    print(
        f"\n## {codes.name}: {len(codes.query):,} queries, {len(codes.database):,} items with {distinct:,} different "
        "codes\n"
    )
    line("mAP", *(f"first {cut}" if cut else "all" for cut in CUTS))
    line("---", *("---:" for _ in CUTS))
    for sort in ("best", "expected", "worst"):
        line(sort, *(f"{find(rows, cut, 'all orders', sort)[0]:.4f}" for cut in CUTS))
    shuffled = [find(rows, cut, "shuffled", "stable") for cut in CUTS]
    line(f"shuffled, {SHUFFLES} times", *(f"{min(values):.4f} to {max(values):.4f}" for values in shuffled))
    for database in ("stored", "sorted", "sorted down"):
        line(f"{database}, stable argsort", *(f"{find(rows, cut, database, 'stable')[0]:.4f}" for cut in CUTS))
    for database in ("stored", "sorted"):
        for processor in PROCESSORS:
            values = [find(rows, cut, database, "default", processor) for cut in CUTS]
            if all(values):
                label = "" if processor == "this one" else f", {processor}"
                line(f"{database}, default argsort{label}", *(f"{value[0]:.4f}" for value in values))


# --- the picture


LANES = (
    "all orders of ties",
    f"shuffled {SHUFFLES} times, stable argsort",
    "sorted by class, stable argsort",
    "sorted by class, default argsort",
    "as stored, stable argsort",
    "as stored, default argsort",
)
PROCESSORS = {"this one": ("D", "this processor"), "no AVX-512": ("s", "without AVX-512"), "no AVX2": ("x", "nor AVX2")}


def draw(tables: Sequence[tuple[Codes, Sequence[Row]]]) -> Figure:
    """Draw a panel for each set of codes: the range over ties, and what argsorts give. All have the same scale."""
    figure, axes = plt.subplots(
        1, len(tables), figsize=(2.2 + 2.6 * len(tables), 3.5), sharey=True, squeeze=False, layout="constrained"
    )
    ranges = [[find(rows, CUTS[0], "all orders", sort)[0] for sort in ("worst", "best")] for _, rows in tables]
    width = 1.32 * max(best - worst for worst, best in ranges)
    for ax, (codes, rows), (worst, best) in zip(axes[0], tables, ranges, strict=True):
        draw_panel(ax, rows)
        ax.set_title(codes.name, fontsize="medium")
        ax.set_xlabel(f"mAP@{CUTS[0]}")
        ax.set_xlim((worst + best - width) / 2, (worst + best + width) / 2)
    axes[0, 0].set_yticks(range(len(LANES)), LANES)
    axes[0, 0].set_ylim(len(LANES) - 0.5, -0.75)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def draw_panel(ax: Axes, rows: Sequence[Row]) -> None:
    cut = CUTS[0]
    worst, expected, best = (find(rows, cut, "all orders", sort)[0] for sort in ("worst", "expected", "best"))
    ax.axvspan(worst, best, color="0.955", linewidth=0, zorder=0)
    ax.axvline(expected, color="0.75", linewidth=0.8, zorder=1)
    ax.plot([worst, best], [0, 0], color=TIES, linewidth=6, alpha=0.35, solid_capstyle="butt", zorder=2)
    ax.plot(expected, 0, "o", color=TIES, markersize=7, zorder=3)
    for value, side, shift in ((worst, "right", (-4, 0)), (expected, "center", (0, 11)), (best, "left", (4, 0))):
        text = f"{value:.3f}".lstrip("0")
        ax.annotate(text, (value, 0), shift, textcoords="offset points", ha=side, va="center", fontsize="small")

    def mark(lane: int, values: Sequence[float], marker: str, color: str, label: str | None = None) -> None:
        size, width = (13, 1.0) if marker == "|" else (7, 1.3)
        lanes = [lane] * len(values)
        (line,) = ax.plot(values, lanes, marker, color=color, label=label, markerfacecolor="none")
        line.set(markersize=size, markeredgewidth=width)

    mark(1, find(rows, cut, "shuffled", "stable"), "|", STABLE)
    mark(2, find(rows, cut, "sorted", "stable"), "^", STABLE, "ids upwards")
    mark(2, find(rows, cut, "sorted down", "stable"), "v", STABLE, "downwards")
    mark(4, find(rows, cut, "stored", "stable"), "o", STABLE)
    for processor, (marker, label) in PROCESSORS.items():
        if values := find(rows, cut, "sorted", "default", processor):
            mark(3, values, marker, DEFAULT, label)
            mark(5, find(rows, cut, "stored", "default", processor), marker, DEFAULT)
    ax.xaxis.set_major_locator(MultipleLocator(0.02))
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure how much of an mAP is the order of tied items.")
    shared = ROOT.parent / "shared" / "data" / "ucf101_64bit.npz"
    parser.add_argument("--ucf", type=Path, default=shared, help="packed UCF101 codes (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the MNIST runs")
    parser.add_argument("--csv", type=Path, default=ASSETS / "ties.csv", help="where to write the table")
    parser.add_argument("--picture", type=Path, default=ASSETS / "ties.png", help="where to draw")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what a process with fewer instructions is asked
    args = parser.parse_args(argv)
    if args.job is not None:
        name, path = json.loads(args.job)
        print(json.dumps(default_sorts(load(name, Path(path)))))
        return 0

    print(__doc__.split("\n\n")[-1].strip() if __doc__ else "")
    paths = {}
    if args.ucf.exists():
        paths["UCF101, 64 bits"] = args.ucf
    else:
        print(f"\nUCF101 is left out: there is no {args.ucf}; --ucf says where the file is")
    paths |= {f"MNIST, {n_bits} bits": learned(n_bits, args.runs) for n_bits in (16, 64)}
    tables = []
    for name, path in paths.items():
        codes = load(name, path)
        rows = list(measure(codes, path))
        print_tables(codes, rows)
        tables.append((codes, rows))

    for path in (args.csv, args.picture):
        path.parent.mkdir(parents=True, exist_ok=True)
    with args.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        for _, rows in tables:
            writer.writerows([f"{field:.6f}" if isinstance(field, float) else field for field in row] for row in rows)
    draw(tables).savefig(args.picture, dpi=160)
    plt.close("all")
    print(f"\nIn {args.csv} and {args.picture}")
    return int(not all(within(rows) for _, rows in tables))


if __name__ == "__main__":
    sys.exit(main())
