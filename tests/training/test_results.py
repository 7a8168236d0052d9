import base64
import io
import json
import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hashcenters import HammingRetrievalEvaluator, HashCenterGenerator
from hashcenters.retrieval import hamming_distance, pack
from hashcenters.training import results
from hashcenters.training.results import write_results

NAMES = ['<b>"cat"', "dog & wolf", "猫", "$x$", "|"]


def make_codes(n, *, multi_label=False, n_bits=16, noise=0.15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = HashCenterGenerator(n_bits)(len(NAMES))
    labels = torch.arange(n) % len(NAMES)
    codes = torch.where(torch.rand(n, n_bits, generator=generator) < noise, -centers[labels], centers[labels])
    if multi_label:
        labels = (
            torch.eye(len(NAMES), dtype=torch.uint8)[labels]
            | torch.eye(len(NAMES), dtype=torch.uint8)[torch.randint(len(NAMES), (n,), generator=generator)]
        )
    return codes, labels, centers


def thumbnail(i, split):
    if split == "database" and i % 7 == 3:
        raise OSError("truncated")
    return Image.new("RGB", (200, 90), (i % 256, 80, 200 if split == "queries" else 20))


def write(folder, *, multi_label=False, n_queries=20, top_k=30, change=None, **options):
    codes, labels, centers = make_codes(60, multi_label=multi_label)
    asked, asked_labels, _ = make_codes(n_queries, multi_label=multi_label, seed=1)
    if change is not None:
        change(asked_labels)
    evaluator = HammingRetrievalEvaluator(16, top_k=top_k)
    evaluator.add_database(codes, labels)
    evaluator.add_queries(asked, asked_labels)
    result = evaluator.compute()
    arguments = {
        "database": (pack(codes), labels),
        "queries": (pack(asked), asked_labels),
        "database_paths": [f"class <b>&\"'/{i}.jpg" for i in range(60)],
        "query_paths": None,
        "class_names": NAMES,
        "centers": centers,
        "thumbnail": thumbnail,
        "n_grid_queries": 2,
    }
    return result, write_results(folder, result, **arguments | options)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.mark.parametrize("multi_label", [False, True])
def test_everything_is_written(tmp_path, multi_label):
    folder = tmp_path / "runs" / "coco"
    folder.mkdir(parents=True)
    log = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5, "map": 0.8}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    _, metrics = write(folder, multi_label=multi_label, config={"version": "1"}, extra={"seconds_training": 3.5})
    pictures = {f"{name}.png" for name in ("centers", "curves", "neighbors", "training")}
    tables = {"codes.npz", "config.json", "curves.json", "log.jsonl", "metrics.json", "neighbors.json"}
    assert {file.name for file in folder.iterdir()} == pictures | tables
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10, name
    assert read(folder / "metrics.json") == metrics
    assert read(folder / "config.json") == {"version": "1"}
    assert metrics["seconds_training"] == 3.5


def test_metrics_are_those_of_the_result(tmp_path):
    result, metrics = write(tmp_path, seed=4)
    assert result.as_dict().items() <= metrics.items()
    assert (metrics["map"], metrics["map_best"], metrics["map_worst"]) == (
        result.map,
        result.map_best,
        result.map_worst,
    )
    assert metrics["map_interval"] == list(result.map_interval(seed=4))
    assert [row["name"] for row in metrics["map_by_class"]] == NAMES
    assert [row["map"] for row in metrics["map_by_class"]] == [result.map_by_class[i] for i in range(5)]
    assert (metrics["n_bits"], metrics["top_k"], metrics["ap_denominator"]) == (16, 30, "retrieved")


def test_curves_are_those_of_the_result(tmp_path):
    result, _ = write(tmp_path)
    curves = read(tmp_path / "curves.json")
    assert curves["at_n"]["n"] == list(range(1, 31))
    assert curves["at_n"]["precision"] == result.precision_at_n.tolist()
    assert curves["at_n"]["recall"] == result.recall_at_n.tolist()
    assert curves["within_radius"]["empty"] == result.empty_share.tolist()
    assert curves["within_radius"]["precision"] == result.precision_within_radius.tolist()
    assert curves["precision_recall"]["recall"] == result.precision_recall.recall.tolist()


def test_long_curves_are_thinned_and_have_no_nan(tmp_path):
    codes, labels, _ = make_codes(3000, noise=0.2)
    evaluator = HammingRetrievalEvaluator(16)
    evaluator.add_database(codes, labels)
    evaluator.add_queries(-codes[:1], labels[:1])  # nothing is near
    result = evaluator.compute()
    assert torch.isnan(result.precision_recall.precision[0])
    items = (pack(codes), labels)
    asked = (pack(-codes[:1]), labels[:1])
    write_results(
        tmp_path, result, database=items, queries=asked, database_paths=None, query_paths=None, class_names=NAMES
    )
    curves = read(tmp_path / "curves.json")
    n = curves["at_n"]["n"]
    assert 100 < len(n) <= 200
    assert n[:3] == [1, 2, 3]
    assert n[-1] == 3000
    assert np.all(np.diff(n) > 0)
    assert curves["at_n"]["precision"] == [float(result.precision_at_n[i - 1]) for i in n]
    assert curves["precision_recall"]["precision"][0] is None


def test_codes_are_read_back_without_pickle(tmp_path):
    write(tmp_path, multi_label=True)
    codes, labels, _ = make_codes(60, multi_label=True)
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["database"], pack(codes).numpy())
        assert np.array_equal(archive["database_labels"], labels.numpy())
        assert archive["database_paths"][3] == "class <b>&\"'/3.jpg"
        assert archive["query_paths"].tolist() == [f"item {i}" for i in range(20)]
        assert archive["query"].shape == (20, 2)
        assert archive["class_names"].tolist() == NAMES
        assert archive["n_bits"] == 16


@pytest.mark.parametrize("multi_label", [False, True])
def test_neighbors_are_those_of_a_full_sort(tmp_path, multi_label):
    write(tmp_path, multi_label=multi_label, n_queries=6, n_grid_queries=6)
    codes, labels, _ = make_codes(60, multi_label=multi_label)
    asked, asked_labels, _ = make_codes(6, multi_label=multi_label, seed=1)
    distances = hamming_distance(pack(asked), pack(codes))
    entries = read(tmp_path / "neighbors.json")
    assert [entry["query"]["name"] for entry in entries] == [f"item {i}" for i in range(6)]

    def label_set(row):
        return {i for i, one in enumerate(row.tolist()) if one} if multi_label else {int(row)}

    for q, entry in enumerate(entries):
        order = sorted(range(60), key=lambda i: (int(distances[q, i]), i))[:10]
        assert [item["name"] for item in entry["neighbors"]] == [f"class <b>&\"'/{i}.jpg" for i in order]
        assert [item["distance"] for item in entry["neighbors"]] == [int(distances[q, i]) for i in order]
        shared = [len(label_set(asked_labels[q]) & label_set(labels[i])) for i in order]
        assert [item["shared"] for item in entry["neighbors"]] == shared
        assert [item["relevant"] for item in entry["neighbors"]] == [count > 0 for count in shared]
        assert entry["query"]["labels"] == [NAMES[i] for i in sorted(label_set(asked_labels[q]))]
        for i, item in zip(order, entry["neighbors"], strict=True):
            if i % 7 == 3:
                assert item["thumbnail"] is None  # its file cannot be read
            else:
                with Image.open(io.BytesIO(base64.b64decode(item["thumbnail"], validate=True))) as picture:
                    assert picture.format == "JPEG"
                    assert picture.size == (112, 50)
                    np.testing.assert_allclose(picture.getpixel((5, 5)), (i, 80, 20), atol=4)
        with Image.open(io.BytesIO(base64.b64decode(entry["query"]["thumbnail"]))) as picture:
            np.testing.assert_allclose(picture.getpixel((5, 5)), (q, 80, 200), atol=4)


def test_the_shown_queries_have_labels_and_follow_the_seed(tmp_path):
    def strip(labels):
        labels[::2] = 0

    shown = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, multi_label=True, change=strip, seed=seed, n_grid_queries=4)
        shown.append([entry["query"]["name"] for entry in read(tmp_path / name / "neighbors.json")])
    assert shown[0] == shown[1] != shown[2]
    assert all(int(name.split()[1]) % 2 for name in shown[0])
    assert len(set(shown[0])) == 4


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    write(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"epoch": 1, "lo')
    write(tmp_path, thumbnail=None, centers=None)  # the pictures of the first evaluation go
    assert {file.name for file in tmp_path.glob("*.png")} == {"curves.png"}
    assert read(tmp_path / "neighbors.json")[0]["neighbors"][0]["thumbnail"] is None
    (tmp_path / "log.jsonl").write_text('{"epoch": 1}\n')
    write(tmp_path)
    assert not (tmp_path / "training.png").exists()


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="queries: one path a code is needed, got 1 for 20 codes"):
        write(tmp_path, query_paths=["a"])
    with pytest.raises(ValueError, match="extra must not replace metrics, got map, top_k"):
        write(tmp_path, extra={"map": 1.0, "top_k": 3})
    with pytest.raises(ValueError, match="labels must lie in 0..1"):
        write(tmp_path, class_names=NAMES[:2])
    with pytest.raises(ValueError, match="n_neighbors must be at least 1, got 0"):
        write(tmp_path, n_neighbors=0)
    with pytest.raises(ValueError, match="n_grid_queries must be at least 1, got 0"):
        write(tmp_path, n_grid_queries=0)
    assert not list(tmp_path.iterdir())  # nothing is written before all is checked


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'need matplotlib and pillow: pip install "hashcenters\[plots\]"'):
        runpy.run_path(results.__file__)
