"""The benchmark of centers runs, and its table says what is measured here the slow way."""

import csv
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hashcenters import HashCenterGenerator

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "centers.py"
COLUMNS = [
    *("n_bits", "n_classes", "distance", "upper_bound", "bound", "optimal", "floor", "definition_1", "seconds"),
    *("construction", "paper_median", "paper_best", "paper_definition_1", "bernoulli", "maxhd", "maxhd_seconds"),
    *("mds", "mds_seconds"),
]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What --quick prints, its rows, and its picture."""
    folder = tmp_path_factory.mktemp("quick") / "new"
    options = ["--quick", "--csv", str(folder / "centers.csv"), "--picture", str(folder / "centers.png")]
    run = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with (folder / "centers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return run.stdout, rows, (folder / "centers.png").read_bytes()


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def least_distance(n_bits, n_classes, **arguments):
    centers = HashCenterGenerator(n_bits, **arguments)(n_classes)
    distances = (n_bits - centers @ centers.T) / 2
    distances.fill_diagonal_(n_bits)
    return int(distances.min())


def test_quick_rows_are_what_the_generators_make(quick):
    _, rows, _ = quick
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 8
    for row in rows:
        n_bits, n_classes, distance, bound = (
            int(row[name]) for name in ("n_bits", "n_classes", "distance", "upper_bound")
        )
        assert distance == least_distance(n_bits, n_classes)
        assert int(row["floor"]) <= distance <= bound
        assert row["optimal"] == str(distance == bound)
        assert row["definition_1"] == "True"
        assert 0 < float(row["seconds"]) < 2

        paper = sorted(least_distance(n_bits, n_classes, method="paper", seed=seed) for seed in range(5))
        assert (int(row["paper_median"]), int(row["paper_best"])) == (paper[2], paper[4])
        assert int(row["bernoulli"]) == least_distance(n_bits, n_classes, method="bernoulli")
        if row["maxhd"]:
            assert int(row["maxhd"]) == least_distance(n_bits, n_classes, method="maxhd")
        others = [int(row[name]) for name in ("paper_best", "bernoulli", "maxhd", "mds") if row[name]]
        assert max(others) <= bound


def test_quick_leaves_fields_empty_where_a_rival_does_not_run(quick):
    _, rows, _ = quick
    sizes = {(int(row["n_bits"]), int(row["n_classes"])): row for row in rows}
    assert [size for size, row in sizes.items() if not row["maxhd"]] == [(8, 200)]  # where it gives up
    assert [size for size, row in sizes.items() if row["mds"]] == [(16, 100), (32, 100)]
    assert all(bool(row["mds"]) == bool(row["mds_seconds"]) for row in rows)
    assert float(sizes[16, 100]["mds_seconds"]) > float(sizes[16, 100]["seconds"])


def test_quick_prints_tables_and_a_summary_and_draws(quick):
    printed, rows, picture = quick
    assert "| 16 | 100 | 6 | 6 | plotkin | yes | 6 | " in printed
    assert "| 64 | 10000 | 24 | " in printed
    assert "| 300 | 99 | 151 | 151 | " in printed
    optimal = sum(row["optimal"] == "True" for row in rows)
    summary = printed.splitlines()[-1]
    assert summary.startswith(f"8 cells: {optimal} optimal, 8 at or above the floor")
    assert summary.endswith("12 of 12 other sizes hold")
    assert picture.startswith(b"\x89PNG")


def test_there_are_105_cells_that_fit(script):
    cells = script["every_cell"]()
    assert len(cells) == len({cell[:2] for cell in cells}) == 105
    assert all(n_classes <= 2**n_bits and 0 < floor <= n_bits for n_bits, n_classes, floor in cells)
    assert all(n_bits >= 24 for n_bits, n_classes, _ in cells if n_classes == 10_000)
    sizes = {cell[:2] for cell in cells}
    assert sizes.issuperset(script["QUICK_CELLS"])
    assert sizes.issuperset(script["MDS_CELLS"])


def test_random_sizes_fit_and_repeat(script):
    sizes = script["random_sizes"](2000)
    assert len(sizes) == 2000
    assert sizes[:3] == script["random_sizes"](3)
    assert all(2 <= n_bits <= 512 and 2 <= n_classes <= min(5000, 2**n_bits) for n_bits, n_classes in sizes)
    assert min(n_bits for n_bits, _ in sizes) < 20
    assert max(n_bits for n_bits, _ in sizes) > 500


def test_failure_is_printed_by_size_and_changes_the_exit_status(script, monkeypatch, capsys, tmp_path):
    main = script["main"]
    names = main.__globals__
    monkeypatch.setitem(names, "QUICK_CELLS", ((16, 10), (32, 10), (64, 10)))
    monkeypatch.setitem(names, "print_big", lambda sizes: [])
    monkeypatch.setitem(names, "random_sizes", lambda n_sizes: [(16, 40)])
    monkeypatch.setitem(names, "NAMED_SIZES", ())
    options = ["--quick", "--csv", str(tmp_path / "a.csv"), "--picture", str(tmp_path / "a.png")]
    assert main(options) == 0
    assert "FAILURES" not in capsys.readouterr().out

    monkeypatch.setitem(names, "gilbert_varshamov", lambda n_classes, n_bits: n_bits)
    assert main(options) == 1
    assert re.search(r"## FAILURES\n\n.*\n.*\n\| 16 \| 40 \| 6 \| 6 \| \d+ \| 16 \| yes \|", capsys.readouterr().out)


def test_cell_below_the_floor_changes_the_exit_status(script):
    cell = script["measure"](16, 100, 6)
    assert cell.holds
    assert not cell._replace(floor=7).holds
    assert not cell._replace(definition_1=False).holds
    assert not cell._replace(paper_best=7).holds


def test_sizes_is_checked(script, capsys):
    with pytest.raises(SystemExit):
        script["main"](["--sizes", "-1"])
    assert "--sizes must be at least 0, got -1" in capsys.readouterr().err
