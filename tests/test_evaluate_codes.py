import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from hashcenters import HammingRetrievalEvaluator

EXAMPLE = Path(__file__).parents[1] / "examples" / "evaluate_codes.py"


@pytest.fixture(scope="module")
def main():
    return runpy.run_path(str(EXAMPLE))["main"]


def arrays(multi_label=False, n_bits=12):
    random = np.random.default_rng(3)
    parts = {}
    for part, n in (("database", 60), ("query", 20)):
        parts[part] = random.normal(size=(n, n_bits)).astype(np.float32)
        labels = random.random((n, 5)) < 0.3 if multi_label else random.integers(0, 5, n)
        parts[f"{part}_labels"] = labels.astype(np.float32) if multi_label else labels
    return parts


def expected(parts, top_k=None, **options):
    evaluator = HammingRetrievalEvaluator(12, top_k=top_k, **options)
    evaluator.add_database(parts["database"], parts["database_labels"].astype(np.int64))
    evaluator.add_queries(parts["query"], parts["query_labels"].astype(np.int64))
    return evaluator.compute()


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("form", ["npz", "packed", "npy"])
def test_codes_in_any_form(form, multi_label, main, tmp_path, capsys):
    parts = arrays(multi_label)
    stored = dict(parts)
    if form == "packed":
        stored |= {part: np.packbits(parts[part] >= 0, axis=1) for part in ("database", "query")}
    if form == "npy":
        files = [tmp_path / f"{part}.npy" for part in ("database", "database_labels", "query", "query_labels")]
        for file in files:
            np.save(file, stored[file.stem])
    else:
        files = [tmp_path / "codes.npz"]
        np.savez(files[0], **stored, n_bits=12)
    main([*map(str, files), "--top-k", "10", "--out", str(tmp_path / "new" / "folder")])
    result = expected(parts, 10)
    printed = capsys.readouterr().out
    assert str(result) in printed
    assert "95 % of bootstrapped sets of queries" in printed
    assert json.loads((tmp_path / "new" / "folder" / "metrics.json").read_text())["map"] == result.map
    assert (tmp_path / "new" / "folder" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_length_and_denominator(main, tmp_path, capsys):
    parts = arrays()
    packed = {part: np.packbits(parts[part] >= 0, axis=1) for part in ("database", "query")}
    np.savez(tmp_path / "codes.npz", **(parts | packed))
    main([str(tmp_path / "codes.npz"), "--bits", "12", "--denominator", "min", "--top-k", "7"])
    assert str(expected(parts, 7, ap_denominator="min")) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.npy", "b.npy"], r"FILES must be one \.npz or four \.npy \(database, .*\), got 2"),
        (["codes.txt"], r"FILES must be one \.npz or four \.npy"),
        (["nowhere.npz"], "No such file"),
    ],
)
def test_wrong_files(names, message, main, tmp_path):
    with pytest.raises(SystemExit, match=message):
        main([str(tmp_path / name) for name in names])


def test_wrong_arrays(main, tmp_path):
    parts = arrays()
    np.savez(tmp_path / "some.npz", database=parts["database"], query=parts["query"])
    with pytest.raises(SystemExit, match="some.npz must hold .*; it has no database_labels, query_labels"):
        main([str(tmp_path / "some.npz")])
    np.savez(tmp_path / "odd.npz", **(parts | {"query_labels": np.full(20, 0.5)}))
    with pytest.raises(SystemExit, match="labels must be whole numbers"):
        main([str(tmp_path / "odd.npz")])
    np.savez(tmp_path / "pickle.npz", **(parts | {"query_labels": np.array([{}] * 20)}))
    with pytest.raises(SystemExit, match="allow_pickle=False"):
        main([str(tmp_path / "pickle.npz")])


@pytest.mark.parametrize("low", [0, -1])
def test_whole_numbers_are_bits(low, main, tmp_path, capsys):
    parts = arrays()
    whole = {part: np.where(parts[part] >= 0, 1, low) for part in ("database", "query")}
    np.savez(tmp_path / "codes.npz", **(parts | whole))
    main([str(tmp_path / "codes.npz"), "--top-k", "10"])
    assert str(expected(parts, 10)) in capsys.readouterr().out


def test_bytes_that_may_be_bits_or_packed(main, tmp_path):
    parts = arrays()
    loose = {part: (parts[part] >= 0).astype(np.uint8) for part in ("database", "query")}
    np.savez(tmp_path / "loose.npz", **(parts | loose))
    with pytest.raises(SystemExit, match="database holds 0 and 1 alone in uint8: if a byte is a bit, save it as bool"):
        main([str(tmp_path / "loose.npz")])
    main([str(tmp_path / "loose.npz"), "--bits", "96"])
    np.savez(tmp_path / "large.npz", **(parts | {"database": np.full((60, 12), 7)}))
    with pytest.raises(SystemExit, match="database must be packed uint8, real values, 0/1 or ±1, got int64 beyond ±1"):
        main([str(tmp_path / "large.npz")])


def test_published_codes(main, capsys):
    published = Path(__file__).parents[2] / "shared" / "data" / "ucf101_64bit.npz"
    if not published.exists():
        pytest.skip("the published UCF101 codes are not here")
    main([str(published), "--top-k", "100"])
    assert "mAP@100              0.8740  0.8626 to 0.8890" in capsys.readouterr().out
