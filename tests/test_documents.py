"""Every Python block of the README and of the docs runs, page by page, in order."""

import re
from pathlib import Path

import pytest
import torch

from hashcenters.models import video_backbones

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def what_the_reader_has() -> dict[str, object]:
    """A backbone, loaders and codes: what the pages take for granted."""
    codes = torch.sign(torch.randn(60, 64))
    labels = torch.arange(60) % 10
    images, image_labels = torch.randn(200, 3, 4, 4), torch.arange(200) % 10
    batches = list(zip(torch.split(images, 20), torch.split(image_labels, 20), strict=True))[:2]
    return {
        "backbone": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 512)),
        "train_loader": batches,
        "database_loader": batches,
        "query_loader": batches,
        "images": images,
        "labels": image_labels,
        "database_codes": codes[:50],
        "database_labels": labels[:50],
        "query_codes": codes[50:],
        "query_labels": labels[50:],
    }


PAGES_WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_blocks_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what the pages write
    namespace = what_the_reader_has()
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), namespace)
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close("all")


def test_readme_snippet_fits_twelve_lines():
    snippet = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert "CentralSimilarityLoss" in snippet
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 12


def test_relative_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_table_of_video_networks_is_that_of_the_code():
    page = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    for row in video_backbones():
        clip, smallest = (" x ".join(map(str, size)) for size in (row.clip, row.smallest))
        line = f"| `{row.name}` | {row.width} | {row.n_parameters / 1e6:.1f} M | {clip} | {smallest} |"
        assert line in page, line
