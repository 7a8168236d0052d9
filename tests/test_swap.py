"""README's first snippet trains with every loss that is called ``loss(logits, labels)``: one line is another."""

import re
from pathlib import Path

import pytest
import torch

import hashcenters.losses

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LOSS_LINE = "loss_fn = hc.CentralSimilarityLoss(centers)"
OPTIMIZER_LINE = "optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)"
# Losses with parameters of their own want one more line.
BOTH_OPTIMIZER_LINE = "optimizer = torch.optim.Adam([*model.parameters(), *loss_fn.parameters()], lr=1e-3)"

CENTERS, SIZES = "centers", "10, 64"
ARGUMENTS = {
    "CentralSimilarityLoss": CENTERS,
    "CenterContrastLoss": CENTERS,
    "OrthoHashLoss": CENTERS,
    "MDSLoss": CENTERS,
    "DPNLoss": CENTERS,
    "GreedyHashLoss": SIZES,
    "FaceCenterLoss": SIZES,
    "MagnetCenterLoss": SIZES,
    "RepMetCenterLoss": SIZES,
}
OWN_PARAMETERS = ("FaceCenterLoss", "GreedyHashLoss", "RepMetCenterLoss")
# CNNH takes codes in the place of labels: docs/methods.md has its snippet.
NAMES = sorted(name for name in hashcenters.losses.__all__ if name.endswith("Loss") and name != "CNNHLoss")
N_STEPS = 40


def snippet(name: str) -> str:
    """README's first block, with another loss."""
    (code, *_) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert code.count(LOSS_LINE) == 1
    assert code.count(OPTIMIZER_LINE) == 1
    code = code.replace(LOSS_LINE, f"loss_fn = hc.losses.{name}({ARGUMENTS.get(name, '')})")
    return code.replace(OPTIMIZER_LINE, BOTH_OPTIMIZER_LINE) if name in OWN_PARAMETERS else code


def train(code: str, labels: torch.Tensor) -> list[float]:
    """Run a snippet on one batch of noisy prototypes over and over; return the loss of every step."""
    torch.manual_seed(0)
    classes = torch.nn.functional.one_hot(labels, 10).float() if labels.ndim == 1 else labels.float()
    images = classes @ torch.randn(10, 48) + torch.randn(len(labels), 48) / 2
    losses = []

    def loader():
        for _ in range(N_STEPS):
            yield images.reshape(-1, 3, 4, 4), labels
            losses.append(namespace["loss"].item())

    namespace = {
        "backbone": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 512), torch.nn.ReLU()),
        "train_loader": loader(),
    }
    exec(compile(code, "README.md", "exec"), namespace)
    return losses


def fall(losses: list[float]) -> float:
    """How far the loss fell, as a share of where it began."""
    return (losses[0] - min(losses[-5:])) / abs(losses[0])


def labels_of(kind: str) -> torch.Tensor:
    ids = torch.arange(40) % 10
    if kind == "single":
        return ids
    return torch.nn.functional.one_hot(ids, 10) | torch.nn.functional.one_hot((ids * 3 + ids // 5) % 10, 10)


@pytest.mark.parametrize("kind", ["single", "multi-hot"])
@pytest.mark.parametrize("name", NAMES)
def test_readme_snippet_trains_with_another_loss(name, kind):
    losses = train(snippet(name), labels_of(kind))
    assert len(losses) == N_STEPS
    assert fall(losses) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_falls_without_learning(name):
    # Magnet's and Face's centers move by themselves, and nothing else does.
    losses = train(snippet(name).replace("lr=1e-3", "lr=0.0"), labels_of("single"))
    assert fall(losses) < 0.1


def test_which_losses_want_the_second_line():
    # So that a new loss with parameters cannot be trained without them unnoticed.
    for name in NAMES:
        arguments = {CENTERS: (torch.sign(torch.randn(10, 64)),), SIZES: (10, 64)}.get(ARGUMENTS.get(name, ""), ())
        has_parameters = any(True for _ in getattr(hashcenters.losses, name)(*arguments).parameters())
        assert has_parameters == (name in OWN_PARAMETERS), name
