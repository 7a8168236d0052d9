import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

import hashcenters
from hashcenters import HammingRetrievalEvaluator, HashCenterGenerator
from hashcenters.report import PAPER_MAP, collect, to_html, to_markdown
from hashcenters.report.__main__ import main
from hashcenters.report.charts import Series, line_chart
from hashcenters.report.paper import PAPER_DATA, paper_value
from hashcenters.retrieval import pack
from hashcenters.training.files import write_json
from hashcenters.training.results import write_results

EVIL = "<b>&\"'</td><script>alert(1)</script>|`猫`\n[x](javascript:1) \udcff\u202e"


def write_run(folder, *, dataset="imagenet100", method="csq", n_bits=16, multi_label=False, selection="last", **recipe):
    n_classes = 4
    centers = HashCenterGenerator(n_bits)(n_classes)
    labels = torch.arange(40) % n_classes
    codes = torch.where(torch.rand(40, n_bits, generator=torch.Generator().manual_seed(0)) < 0.2, -1.0, 1.0)
    codes = codes * centers[labels]
    if multi_label:
        labels = torch.eye(n_classes, dtype=torch.uint8)[labels] | torch.eye(n_classes, dtype=torch.uint8)[0]
    evaluator = HammingRetrievalEvaluator(n_bits, top_k=PAPER_DATA[dataset].top_k)
    evaluator.add_database(codes, labels)
    evaluator.add_queries(codes[:10], labels[:10])
    result = evaluator.compute()
    folder.mkdir(parents=True)
    log = [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.4, "map": 0.5}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    data = {"name": dataset, "train": 40.0, "queries": 10.0, "database": 40.0, "data_imbalance": 3.3, "report": EVIL}
    settings = {"preset": "csq-paper", "method": method, "backbone": "resnet50", "n_bits": n_bits, EVIL: EVIL}
    write_results(
        folder,
        result,
        database=(pack(codes), labels),
        queries=(pack(codes[:10]), labels[:10]),
        database_paths=[f"{EVIL}{i}.jpg" for i in range(40)],
        query_paths=None,
        class_names=[EVIL, "dog", "猫", "d"],
        centers=centers,
        thumbnail=lambda i, split: Image.new("RGB", (20, 10), (i, 0, 0)),
        config={
            "version": hashcenters.__version__,
            "data": data,
            "recipe": settings | {"quirks": [EVIL]} | recipe,
            "options": {"mixed_precision": "no"},
            "selection": selection,
        },
        extra={"seconds_training": 75.0, "n_epochs": 2, "selected_epoch": 2, "validation_map": 0.5},
        n_grid_queries=6,
    )
    return result


class Page(HTMLParser):
    """What a browser would make of a page: its tags must nest, its text is kept."""

    VOID = ("meta", "img", "line", "circle", "path")

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "csq16")
    write_run(root / "csq32", n_bits=32, selection="test", lr=0.1)
    write_run(root / "a<b>&\"'|猫", dataset="coco", method="hashnet", multi_label=True, backbone="lite0")
    return sorted(root.iterdir())


@pytest.fixture(scope="module")
def runs(folders):
    return collect(folders)


def test_the_papers_tables():
    # Sums of the printed tables: a mistyped digit changes them.
    sums = {
        ("imagenet100", "any"): 4.143,
        ("imagenet100", "alexnet"): 9.575,
        ("imagenet100", "resnet50"): 25.189,
        ("coco", "any"): 6.767,
        ("coco", "resnet50"): 13.159,
        ("nus_wide", "any"): 5.837,
        ("nus_wide", "resnet50"): 13.580,
        ("ucf101", "any"): 5.340,
        ("ucf101", "mfnet3d"): 16.989,
        ("hmdb51", "any"): 3.948,
        ("hmdb51", "mfnet3d"): 1.671,
    }
    found = dict.fromkeys(sums, 0.0)
    for (dataset, _, backbone, n_bits), value in PAPER_MAP.items():
        assert n_bits in (16, 32, 64)
        found[dataset, backbone] += value
    assert found == pytest.approx(sums, abs=1e-9)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("imagenet100", "csq", "alexnet", 32), 0.653),
        (("imagenet100", "ours", "resnet50.a1_in1k", 64), 0.873),
        (("coco", "dch", "resnet50", 32), 0.801),
        (("nus_wide", "sdh", "whatever", 64), 0.613),
        (("ucf101", "csq+lp", "mfnet3d", 64), 0.881),
        (("ucf101", "repmet", "mfnet3d", 16), 0.781),
        (("imagenet100", "lp+lq", "resnet50", 16), 0.551),
        (("hmdb51", "csq", "mfnet3d", 32), 0.565),
    ],
)
def test_the_number_beside_a_run(key, value):
    assert paper_value(*key).map == value


def test_no_number_beside_other_runs():
    assert paper_value("mnist", "csq", "resnet50", 64) is None
    assert paper_value("coco", "csq", "resnet50", 12) is None
    assert paper_value("coco", "face", "resnet50", 64) is None


def test_a_record_says_what_the_run_found(runs):
    run = next(run for run in runs if run.name == "csq32")
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert (run.dataset, run.method, run.backbone, run.n_bits, run.map) == (
        "imagenet100", "csq", "resnet50", 32, metrics["map"],
    )  # fmt: skip
    assert run.paper.map == 0.865
    assert run.difference == pytest.approx(100 * (metrics["map"] - 0.865))
    assert run.selection == "test queries (optimistic)"
    assert run.within_radius("precision") == metrics["precision@r2"]
    assert run.within_radius("empty") == metrics["empty@r2"]
    assert [run.count(part) for part in ("train", "queries", "database", "imbalance")] == [40, 10, 40, 3.3]
    assert run.problems == ()
    assert run.remarks() == ["the best epoch was chosen by the test queries: the number is too good"]
    assert run.reservations() == [
        "40 items in the database, the paper has 128,495",
        "10 queries, the paper has 5,000",
        "40 training items, the paper has 10,000",
    ]


def test_reservations_name_what_differs(tmp_path):
    write_run(tmp_path / "run", preset="ours", backbone="lite0")
    config, metrics = (json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("config", "metrics"))
    config["data"] |= {"database": 128_503, "queries": 4_983, "train": 10_400}
    config["recipe"] |= {"pretrained": False, "image_size": 32}
    write_json(tmp_path / "run" / "config.json", config)
    write_json(tmp_path / "run" / "metrics.json", metrics | {"top_k": None, "ap_denominator": "relevant"})
    (run,) = collect([tmp_path / "run"])
    assert run.reservations() == [
        "backbone lite0, the paper's number is of resnet50",
        "the backbone began with random weights, the paper's with those of ImageNet or Kinetics",
        "pictures of 32 pixels, where 224 are usual",
        "mAP, the paper has mAP@1000",
        "AP is divided by relevant, in the paper by the relevant retrieved",
    ]
    assert run.remarks() == ["beside the paper's CSQ"]
    config["recipe"] |= {"backbone": "resnet50.tv_in1k", "pretrained": True, "image_size": 224}
    write_json(tmp_path / "run" / "config.json", config)
    write_json(tmp_path / "run" / "metrics.json", metrics)
    (run,) = collect([tmp_path / "run"])
    assert run.reservations() == []
    assert "*" not in to_markdown([run]).splitlines()[2]


def test_the_page_is_whole_and_harmless(runs):
    source = to_html(runs)
    source.encode("utf-8")
    page = Page(source)
    assert "script" not in page.tags
    assert "b" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name, value)
        if name in ("src", "href"):
            assert value.startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#run-"))
    policy = [value for tag, name, value in page.attributes if (tag, name) == ("meta", "content")]
    assert any("default-src 'none'" in value for value in policy)
    assert "://" not in source
    shown = "<b>&\"'</td><script>alert(1)</script>|`猫` [x](javascript:1) \ufffd\ufffd"
    assert page.text.count(shown) > 10
    alternatives = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert any(value.startswith("<b>&\"'</td><script>") for value in alternatives)


def test_the_page_says_what_was_found(runs):
    page = Page(to_html(runs))
    for run in runs:
        assert f"{run.map:.3f} (@" in page.text
        assert run.name in page.text
    assert "test queries (optimistic)" in page.text
    assert "1 min 15 s" in page.text
    assert "40 items in the database, the paper has 128,495" in page.text
    assert "MS COCO" in page.text
    tiles = [value for tag, name, value in page.attributes if (tag, name) == ("figure", "class")]
    found = [item["relevant"] for run in runs for entry in run.neighbors for item in entry["neighbors"]]
    assert tiles.count("tile right") == sum(found)
    assert tiles.count("tile wrong") == len(found) - sum(found) > 0
    assert tiles.count("tile asked") == 6 * 3
    charts = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert "precision against recall: csq16, csq32" in charts
    assert "precision within radius 2 against code length (bits): CSQ, csq-paper, resnet50" in charts
    assert "Where the runs’ settings differ" in page.text
    assert "lr 0.1" in page.text


def test_shared_labels_are_counted_where_there_are_several(runs):
    coco = next(run for run in runs if run.dataset == "coco")
    assert "shared" not in Page(to_html([run for run in runs if run is not coco])).text.replace("shares", "")
    assert "2 shared" in Page(to_html([coco])).text


def test_the_markdown_table(runs):
    lines = to_markdown(runs).splitlines()
    assert lines[1] == "|" + " --- |" * 14
    rows = lines[2:5]
    for run, row in zip(runs, rows, strict=True):
        cells = [cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")]
        assert len(cells) == 14
        assert f"{run.map:.3f} (@" in cells[5]
        assert cells[8] == f"{run.paper.map:.3f}"
    coco = next(row for row in rows if "COCO" in row)
    assert coco.startswith("| a&lt;b&gt;&amp;\"'\\|猫 | MS COCO | HashNet | lite0 | 16 |")
    assert "- csq32: the best epoch was chosen by the test queries: the number is too good" in lines


def test_markdown_of_evil_names(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    recipe = {"method": EVIL, "backbone": EVIL, "n_bits": 16}
    write_json(folder / "config.json", {"version": "9.1\n|", "data": {"name": EVIL}, "recipe": recipe})
    lines = to_markdown(collect([folder])).splitlines()
    assert "<" not in "".join(lines)
    assert lines[2].replace("\\|", "").count("|") == 15
    assert "\\`猫\\` \\[x\\](javascript:1)" in lines[2]
    assert any("written by version 9.1 \\|, read by" in line for line in lines)


@pytest.mark.parametrize("name", ["metrics.json", "config.json", "curves.json", "neighbors.json"])
@pytest.mark.parametrize(
    "content", [None, b"", b'{"map": 0.', b"[1, 2]", b'{"query": 1}', b"\xff\xfe", b"[" * 100_000, b"null", b'"a"']
)
def test_partial_runs_give_a_row(tmp_path, folders, name, content):
    folder = tmp_path / "run"
    folder.mkdir()
    for file in folders[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    runs = collect([folder])
    well_formed = (b"[1, 2]",) if name == "neighbors.json" else (b'{"query": 1}',)
    assert runs[0].problems or (content in well_formed and name in ("neighbors.json", "curves.json"))
    page = Page(to_html(runs))
    for problem in runs[0].problems:
        assert problem in page.text
    assert "run" in to_markdown(runs).splitlines()[2]


ODD = [None, True, -1, 10**400, "text", [], [None, "a", True], {}, {"a": 1}, 1e308]


@pytest.mark.parametrize("odd", ODD, ids=[str(i) for i in range(len(ODD))])
def test_odd_values_do_not_stop_the_page(tmp_path, odd):
    folder = tmp_path / "run"
    folder.mkdir()
    version = hashcenters.__version__
    data = dict.fromkeys(["name", "train", "queries", "database", "imbalance", "report", "skipped"], odd)
    recipe = dict.fromkeys(["preset", "method", "backbone", "n_bits", "quirks"], odd)
    names = ["map_best", "map_worst", "map_interval", "map_by_class", "top_k", "seconds_training", "n_without_labels"]
    metrics = {"map": 0.5, "n_bits": 16} | dict.fromkeys([*names, "ap_denominator", "n_epochs", "selected_epoch"], odd)
    item = dict.fromkeys(["name", "labels", "distance", "shared", "relevant", "thumbnail"], odd)
    content = {
        "config": {"version": version, "data": data, "recipe": recipe, "options": odd, "selection": odd},
        "metrics": metrics,
        "curves": {"at_n": {"n": odd, "precision": odd}, "precision_recall": odd, "within_radius": {"precision": odd}},
        "neighbors": [
            odd,
            {"query": odd},
            {"query": item, "neighbors": odd},
            {"query": item, "neighbors": [odd, item]},
        ],
    }
    for name, value in content.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "log.jsonl").write_text(json.dumps({"epoch": odd, "loss": odd, "map": odd}) + "\n")
    runs = collect([folder, folder])
    assert runs[0].map == 0.5
    Page(to_html(runs))
    to_markdown(runs)
    for part in ("data", "recipe"):
        write_json(folder / "config.json", {"version": version, "data": {"name": "coco"}, part: odd})
        Page(to_html(collect([folder])))


def test_problems_have_words(tmp_path, folders):
    (tmp_path / "config.json").mkdir()
    (tmp_path / "metrics.json").write_text("{}")
    (tmp_path / "centers.png").write_bytes(b"GIF")
    (tmp_path / "log.jsonl").write_text('{"epoch": 1, "loss": 0.5}\n{"epo')
    (run,) = collect([str(tmp_path)])
    assert [problem.split(" (")[0] for problem in run.problems] == [
        "config.json cannot be read",
        "curves.json is missing",
        "neighbors.json is missing",
        "log.jsonl has lines that are damaged",
        "centers.png is damaged: no PNG",
    ]
    (tmp_path / "log.jsonl").write_bytes(b"\xff")
    (tmp_path / "centers.png").unlink()
    (tmp_path / "centers.png").mkdir()
    (tmp_path / "metrics.json").write_text('{"n_bits": 16}')
    problems = collect([tmp_path])[0].problems
    assert "log.jsonl cannot be read" in problems
    assert "metrics.json has no mAP" in problems
    assert any(problem.startswith("centers.png cannot be read") for problem in problems)
    assert collect([tmp_path / "nowhere"])[0].problems == ("there is no such folder",)
    assert "no result" in to_markdown(collect([tmp_path / "nowhere"]))


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    paths = [tmp_path / parent / "run" for parent in ("a", "b")]
    for path in paths:
        path.mkdir(parents=True)
    assert [run.name for run in collect(paths)] == ["a/run", "b/run"]


def test_lines_break_where_there_is_no_value():
    chart = line_chart([Series("a", [(0, 0.5), (1, None), (2, 1.0), (3, 0.0)], 9)], xlabel="x", ylabel="y")
    assert chart.count("M") == 2
    assert chart.count("L") == 1
    assert chart.count("<circle") == 3
    assert 'class="s1"' in chart
    assert "stroke-dasharray" in chart
    assert line_chart([Series("a", [(0, None)], 0)], xlabel="x", ylabel="y") == ""


def test_the_command(tmp_path, folders, capsys):
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    main([str(folders[0]), str(tmp_path / "nowhere"), "--out", str(page), "--markdown", str(table)])
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'nowhere'}: there is no such folder",
        f"2 runs in {page}, {table}",
    ]
    assert page.read_text(encoding="utf-8") == to_html(collect([folders[0], tmp_path / "nowhere"]))
    assert table.read_text(encoding="utf-8").startswith("| Run | Data |")


def test_the_command_without_a_folder_says_how(capsys, tmp_path, folders):
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "usage: python -m hashcenters.report" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"page.html could not be written \(No such file.*choose another place"):
        main([str(folders[0]), "--out", str(tmp_path / "nowhere" / "page.html")])


def test_the_module_runs_without_what_training_needs(tmp_path, folders):
    code = (
        "import sys; [sys.modules.__setitem__(name, None) for name in ('accelerate', 'matplotlib', 'timm', 'PIL')];"
        "from hashcenters.report.__main__ import main;"
        f"main([{str(folders[0])!r}, '--out', {str(tmp_path / 'r.html')!r}])"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert (tmp_path / "r.html").exists()


def test_folders_that_hold_no_run_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="none of these is the folder of a run: .*empty, .*nowhere"):
        main([str(tmp_path / "empty"), str(tmp_path / "nowhere"), "--out", str(tmp_path / "page.html")])
    assert not (tmp_path / "page.html").exists()
