"""How far apart are hash centers, and how fast are they made? Ours, the paper's and the rivals', beside the limit.

    python benchmarks/centers.py            # 105 sizes, 5 with MDS, 2 big ones, 200 random ones; about two minutes
    python benchmarks/centers.py --quick    # a few of each; some seconds

Prints tables, writes a CSV file (one row a size) and a picture. The exit status is 1 if centers of method "auto"
violate Definition 1, or are nearer to each other than the floor, Algorithm 1's or what Gilbert and Varshamov guarantee.

* Every distance is the least of all pairs, counted on the centers that were made. "bound" is what no centers exceed.
* "floor" is what a prototype reached before this library was written: a lower limit for it, not a record.
* "auto s" is wall time on one thread of making the centers and measuring all pairs, at the first call for this size;
  compiled loops are loaded before. Nothing is stored between runs, but what sizes share (families of codes) is made
  once a run, so the times depend a little on the order.
* The paper's Algorithm 1 runs with seeds 0..4, everything else with seed 0.
* MaxHD and MDS are this library's versions of them, in compiled loops and with the changes that their docstrings name;
  their times say nothing about their authors' programs. MaxHD runs up to 400 classes, and its field is empty where it
  gives up.
"""

import argparse
import csv
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashcenters import HashCenterGenerator
from hashcenters.centers import CenterReport
from hashcenters.centers.bounds import gilbert_varshamov
from hashcenters.centers.measures import min_distance, satisfies_definition_1
from hashcenters.centers.rivals import mds_distance

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
N_CLASSES = (2, 10, 21, 51, 80, 100, 101, 200, 397, 1000, 10000)
FLOOR = {  # by n_bits: a distance for each of N_CLASSES, as far as they fit
    8: (8, 4, 2, 2, 2, 2, 2, 1),
    12: (12, 6, 6, 4, 4, 4, 4, 3, 2, 2),
    16: (16, 8, 8, 6, 6, 6, 6, 6, 4, 4),
    24: (24, 12, 12, 11, 10, 10, 10, 8, 8, 8, 6),
    32: (32, 17, 16, 16, 14, 14, 14, 13, 12, 12, 8),
    48: (48, 26, 24, 24, 24, 23, 22, 22, 20, 20, 16),
    64: (64, 35, 33, 32, 32, 32, 32, 29, 28, 28, 24),
    96: (96, 52, 50, 48, 48, 48, 48, 46, 44, 44, 38),
    128: (128, 70, 66, 64, 64, 64, 64, 64, 60, 58, 56),
    256: (256, 142, 134, 130, 128, 128, 128, 128, 128, 120, 120),
}
QUICK_CELLS = ((8, 200), (16, 10), (16, 100), (24, 397), (32, 10), (32, 100), (64, 10), (64, 397))
MDS_CELLS = ((16, 100), (32, 100), (32, 200), (48, 100), (64, 200))  # (n_bits, n_classes), like all sizes here
BIG_SIZES = ((64, 10_000), (64, 100_000))
NAMED_SIZES = ((512, 3000), (300, 99))
MAXHD_MOST = 400
COLORS = {"auto": "#bd1f01", "mds": "#832db6", "maxhd": "#ffa90e", "paper": "#3f90da", "bernoulli": "#717581"}


class Cell(NamedTuple):
    """One size: a row of the CSV. None is an empty field."""

    n_bits: int
    n_classes: int
    distance: int
    upper_bound: int
    bound: str
    optimal: bool
    floor: int
    definition_1: bool
    seconds: float
    construction: str
    paper_median: int
    paper_best: int
    paper_definition_1: int  # in how many of five seeds it holds
    bernoulli: int
    maxhd: int | None
    maxhd_seconds: float | None
    mds: int | None
    mds_seconds: float | None

    @property
    def holds(self) -> bool:
        """Whether the centers are as good as they must be at least."""
        return self.definition_1 and self.distance >= max(self.floor, self.paper_best)


class Size(NamedTuple):
    """One random size."""

    n_bits: int
    n_classes: int
    distance: int
    upper_bound: int
    definition_1: bool
    paper_best: int
    guaranteed: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the centers are as good as they must be at least."""
        return self.definition_1 and self.distance >= max(self.paper_best, self.guaranteed)


def words_of(n_bits: int, n_classes: int, method: Any, seed: int = 0) -> np.ndarray:
    return HashCenterGenerator(n_bits, method=method, seed=seed)(n_classes).numpy().astype(np.int8)


def timed(n_bits: int, n_classes: int, method: Any) -> tuple[int, float] | tuple[None, None]:
    """Return the distance and the seconds of making and measuring, or nothing where the method gives up."""
    started = perf_counter()
    try:
        distance = min_distance(words_of(n_bits, n_classes, method))
    except ValueError as error:
        if "gives up" not in str(error):
            raise
        return None, None
    return distance, perf_counter() - started


def every_cell() -> list[tuple[int, int, int]]:
    """Return (n_bits, n_classes, floor)."""
    return [(n_bits, *pair) for n_bits in FLOOR for pair in zip(N_CLASSES, FLOOR[n_bits], strict=False)]


def warm_up() -> None:
    """Load what is compiled or imported when first used, and keep to one thread."""
    torch.set_num_threads(1)
    HashCenterGenerator(16).report(40)
    for method in ("maxhd", "mds"):
        timed(16, 40, method)


def measure(n_bits: int, n_classes: int, floor: int) -> Cell:
    ours = HashCenterGenerator(n_bits).report(n_classes)
    paper = [words_of(n_bits, n_classes, "paper", seed) for seed in range(5)]
    distances = [min_distance(words) for words in paper]
    maxhd, maxhd_seconds = timed(n_bits, n_classes, "maxhd") if n_classes <= MAXHD_MOST else (None, None)
    mds, mds_seconds = timed(n_bits, n_classes, "mds") if (n_bits, n_classes) in MDS_CELLS else (None, None)
    return Cell(
        n_bits=n_bits,
        n_classes=n_classes,
        distance=ours.min_distance,
        upper_bound=ours.upper_bound,
        bound=ours.bound_name,
        optimal=ours.is_optimal,
        floor=floor,
        definition_1=ours.satisfies_definition_1,
        seconds=ours.seconds,
        construction=ours.construction,
        paper_median=statistics.median_low(distances),
        paper_best=max(distances),
        paper_definition_1=sum(satisfies_definition_1(words) for words in paper),
        bernoulli=min_distance(words_of(n_bits, n_classes, "bernoulli")),
        maxhd=maxhd,
        maxhd_seconds=maxhd_seconds,
        mds=mds,
        mds_seconds=mds_seconds,
    )


def random_sizes(n_sizes: int) -> list[tuple[int, int]]:
    """Return sizes with n_bits in 2..512 and n_classes in 2..5000 that fit, the same on every platform."""
    stream, sizes = np.random.Philox(0), list[tuple[int, int]]()
    while len(sizes) < n_sizes:
        n_bits, n_classes = 2 + int(stream.random_raw()) % 511, 2 + int(stream.random_raw()) % 4999
        if n_classes <= 2**n_bits:
            sizes.append((n_bits, n_classes))
    return sizes


def check(n_bits: int, n_classes: int) -> Size:
    ours = HashCenterGenerator(n_bits).report(n_classes)
    paper = max(min_distance(words_of(n_bits, n_classes, "paper", seed)) for seed in range(5))
    return Size(
        n_bits=n_bits,
        n_classes=n_classes,
        distance=ours.min_distance,
        upper_bound=ours.upper_bound,
        definition_1=ours.satisfies_definition_1,
        paper_best=paper,
        guaranteed=gilbert_varshamov(n_classes, n_bits),
        seconds=ours.seconds,
    )


def memory(field: str) -> int | None:
    """Return VmRSS (memory in use) or VmHWM (its peak since the last reset) of this process in bytes, on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return None


def reset_peak() -> None:
    with suppress(OSError):  # a peak that is not reset is too high rather than too low
        Path("/proc/self/clear_refs").write_text("5")


def row(*fields: object) -> None:
    """Print a line of a Markdown table."""
    shown = ("" if field is None else f"{field:.3f}" if isinstance(field, float) else str(field) for field in fields)
    print("| " + " | ".join(shown) + " |", flush=True)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def header(title: str, *names: str) -> None:
    print(f"\n## {title}\n")
    row(*names)
    row(*("---" if name in ("construction", "method", "bound by") else "---:" for name in names))


def print_cells(sizes: Iterable[tuple[int, int]]) -> list[Cell]:
    header(
        "Least distance of two centers",
        *("n_bits", "n_classes", "auto", "bound", "bound by", "optimal", "floor", "auto s", "Definition 1"),
        *("paper, median", "paper, best of 5", "bernoulli", "maxhd", "maxhd s", "construction"),
    )
    floors = {(n_bits, n_classes): d for n_bits, n_classes, d in every_cell()}
    cells = []
    for n_bits, n_classes in sizes:
        cell = measure(n_bits, n_classes, floors[n_bits, n_classes])
        change = f" ({cell.distance - cell.floor:+d})" if cell.distance != cell.floor else ""
        row(
            *(n_bits, n_classes, cell.distance, cell.upper_bound, cell.bound, "yes" if cell.optimal else "open"),
            *(f"{cell.floor}{change}", seconds(cell.seconds), yes(cell.definition_1), cell.paper_median),
            *(cell.paper_best, cell.bernoulli, cell.maxhd, seconds(cell.maxhd_seconds)),
            cell.construction.replace("|", "\\|"),
        )
        cells.append(cell)
    return cells


def shares(cell: Cell) -> dict[str, float | None]:
    """Return each method's distance as a share of the upper bound; the paper's is the median of five seeds."""
    distances = {
        "auto": cell.distance,
        "mds": cell.mds,
        "maxhd": cell.maxhd,
        "paper": cell.paper_median,
        "bernoulli": cell.bernoulli,
    }
    return {name: None if d is None else d / cell.upper_bound for name, d in distances.items()}


def print_methods(cells: Sequence[Cell]) -> None:
    """Compare the methods where all but MDS have centers."""
    common = [cell for cell in cells if cell.maxhd is not None]
    header(f"The {len(common)} sizes where MaxHD ends", "method", "mean share of the bound", "least share", "optimal")
    for name in COLORS:
        values = [share for cell in common if (share := shares(cell)[name]) is not None]
        if name != "mds":
            row(name, statistics.fmean(values), min(values), sum(value == 1 for value in values))
    runs, always = sum(cell.paper_definition_1 for cell in cells), sum(cell.paper_definition_1 == 5 for cell in cells)
    print(f"\nAlgorithm 1: Definition 1 holds in {runs} of {5 * len(cells)} runs, with all 5 seeds in {always} cells.")


def print_mds(cells: Iterable[Cell]) -> None:
    names = ("n_bits", "n_classes", "bound", "auto", "auto s", "mds", "its goal", "mds s", "mds s / auto s")
    header("Beside MDS (minimal-distance-separated centers, at most 50 sweeps)", *names)
    for cell in cells:
        if cell.mds_seconds is not None:
            n_bits, n_classes, ratio = cell.n_bits, cell.n_classes, cell.mds_seconds / cell.seconds
            row(
                *(n_bits, n_classes, cell.upper_bound, cell.distance, seconds(cell.seconds)),
                *(cell.mds, mds_distance(n_classes, n_bits), seconds(cell.mds_seconds), f"{ratio:,.0f}"),
            )


def measure_big(n_bits: int, n_classes: int) -> tuple[CenterReport, int | None]:
    """Return the report and the added memory in bytes: of the peak while it was made over what was in use before."""
    warm_up()
    reset_peak()
    before = memory("VmRSS")
    report = HashCenterGenerator(n_bits).report(n_classes)
    after = memory("VmHWM")
    return report, None if before is None or after is None else after - before


def print_big(sizes: Iterable[tuple[int, int]]) -> list[CenterReport]:
    """Measure each size in a process of its own, which has no freed memory to take from."""
    header("Many classes", "n_bits", "n_classes", "auto", "bound", "auto s", "Definition 1", "peak memory added, MiB")
    reports = []
    for n_bits, n_classes in sizes:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            ours, added = process.submit(measure_big, n_bits, n_classes).result()
        mebibytes = None if added is None else round(added / 2**20)
        row(
            *(n_bits, n_classes, ours.min_distance, ours.upper_bound, seconds(ours.seconds)),
            *(yes(ours.satisfies_definition_1), mebibytes),
        )
        reports.append(ours)
    return reports


def print_sizes(sizes: Iterable[tuple[int, int]]) -> list[Size]:
    checked = [check(n_bits, n_classes) for n_bits, n_classes in sizes]
    names = ("n_bits", "n_classes", "auto", "bound", "paper, best of 5", "guaranteed", "Definition 1", "auto s")

    def table(title: str, chosen: Iterable[Size]) -> None:
        header(title, *names)
        for size in chosen:
            row(
                *(size.n_bits, size.n_classes, size.distance, size.upper_bound, size.paper_best, size.guaranteed),
                *(yes(size.definition_1), seconds(size.seconds)),
            )

    table("Two sizes outside the table", checked[: len(NAMED_SIZES)])
    table(
        f"Largest gains of {len(checked)} sizes, in bits over Algorithm 1",
        sorted(checked, key=lambda size: size.paper_best - size.distance)[:5],
    )
    table("Slowest", sorted(checked, key=lambda size: -size.seconds)[:3])
    if failures := [size for size in checked if not size.holds]:
        table("FAILURES", failures)
    counts = {
        "Definition 1 holds": sum(size.definition_1 for size in checked),
        "not nearer than Algorithm 1's best of five": sum(size.distance >= size.paper_best for size in checked),
        "farther apart than it": sum(size.distance > size.paper_best for size in checked),
        "at least the Gilbert-Varshamov guarantee": sum(size.distance >= size.guaranteed for size in checked),
        "optimal": sum(size.distance == size.upper_bound for size in checked),
    }
    share = statistics.fmean(size.distance / size.upper_bound for size in checked)
    print(f"\nOf {len(checked)} sizes: {', '.join(f'{name} {count}' for name, count in counts.items())}.", end=" ")
    print(f"Mean share of the bound: {share:.3f}.")
    return checked


def draw(cells: Sequence[Cell]) -> Figure:
    """Draw the share of the bound that each method reaches, by the number of classes, at 16, 32 and 64 bits."""
    lengths = (16, 32, 64)
    figure, axes = plt.subplots(1, len(lengths), figsize=(9, 3.7), sharey=True, layout="constrained")
    for ax, n_bits in zip(axes, lengths, strict=True):
        draw_length(ax, [cell for cell in cells if cell.n_bits == n_bits])
        ax.set_title(f"{n_bits} bits", fontsize="medium")
        ax.axvline(2 * n_bits, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
    axes[0].set(ylabel="least distance / upper bound", ylim=(-0.03, 1.06))
    axes[1].set_xlabel("number of classes (dotted: 2 n_bits, where the paper's Hadamard rows end)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    return figure


def draw_length(ax: Axes, cells: Sequence[Cell]) -> None:
    labels = {"paper": "paper, median of 5 (shaded: best)", "maxhd": "MaxHD", "mds": "MDS", "bernoulli": "Bernoulli"}
    for name, color in COLORS.items():
        points = [(cell.n_classes, share) for cell in cells if (share := shares(cell)[name]) is not None]
        x, y = zip(*points, strict=True) if points else ((), ())
        marker = {"auto": "o", "mds": "D", "maxhd": "^", "paper": "s", "bernoulli": "v"}[name]
        line, width = "none" if name == "mds" else "-", 2.2 if name == "auto" else 1.3
        ax.plot(
            x,
            y,
            linestyle=line,
            linewidth=width,
            marker=marker,
            markersize=5 if name in ("auto", "mds") else 3.5,
            color=color,
            label=labels.get(name, name),
            zorder=4 if name == "auto" else 3,
        )
    median = [cell.paper_median / cell.upper_bound for cell in cells]
    best = [cell.paper_best / cell.upper_bound for cell in cells]
    ax.fill_between([cell.n_classes for cell in cells], median, best, color=COLORS["paper"], alpha=0.25, linewidth=0)
    ax.set(xscale="log", xlim=(1.6, 14_000))
    ax.set_xticks([10, 100, 1000, 10_000], ["10", "100", "1,000", "10,000"])
    ax.grid(color="0.92", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Measure hash centers: least distances, times, and how far from the limit."
    )
    parser.add_argument("--sizes", type=int, default=200, help="random sizes to check (default: %(default)s)")
    parser.add_argument("--csv", type=Path, default=ASSETS / "centers.csv", help="where to write the table")
    parser.add_argument("--picture", type=Path, default=ASSETS / "centers.png", help="where to draw")
    parser.add_argument("--quick", action="store_true", help="a few cells, at most 10 random sizes")
    args = parser.parse_args(argv)
    if args.sizes < 0:
        parser.error(f"--sizes must be at least 0, got {args.sizes}")

    warm_up()
    print(__doc__.split("\n\n")[-1].strip() if __doc__ else "")
    cells = print_cells(QUICK_CELLS if args.quick else [cell[:2] for cell in every_cell()])
    print_methods(cells)
    print_mds(cells)
    big = print_big(BIG_SIZES[:1] if args.quick else BIG_SIZES)
    sizes = print_sizes([*NAMED_SIZES, *random_sizes(min(args.sizes, 10) if args.quick else args.sizes)])

    for path in (args.csv, args.picture):
        path.parent.mkdir(parents=True, exist_ok=True)
    with args.csv.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(Cell._fields)
        rows.writerows([f"{field:.6f}" if isinstance(field, float) else field for field in cell] for cell in cells)
    draw(cells).savefig(args.picture, dpi=160)
    plt.close("all")

    print(f"\nIn {args.csv} and {args.picture}")
    gaps = [f"({c.n_bits}, {c.n_classes}) {c.distance}/{c.upper_bound}" for c in cells if not c.optimal]
    print(f"Open (n_bits, n_classes) distance/bound: {', '.join(gaps) or 'none'}")
    slowest = max(cells, key=lambda cell: cell.seconds)
    print(
        f"{len(cells)} cells: {len(cells) - len(gaps)} optimal, "
        f"{sum(cell.distance >= cell.floor for cell in cells)} at or above the floor "
        f"({sum(cell.distance > cell.floor for cell in cells)} above), Definition 1 in "
        f"{sum(cell.definition_1 for cell in cells)}, slowest ({slowest.n_bits}, {slowest.n_classes}) with "
        f"{slowest.seconds:.2f} s; {sum(size.holds for size in sizes)} of {len(sizes)} other sizes hold"
    )
    good = [*(cell.holds for cell in cells), *(report.satisfies_definition_1 for report in big)]
    return int(not all([*good, *(size.holds for size in sizes)]))


if __name__ == "__main__":
    sys.exit(main())
