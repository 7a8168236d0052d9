"""Choice of the quantization weight on held-out training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hashcenters.centers.randomness import check_seed
from hashcenters.checks import check_centers, check_labels
from hashcenters.losses.central import CentralSimilarityLoss
from hashcenters.losses.options import check_weight
from hashcenters.retrieval.evaluator import HammingRetrievalEvaluator
from hashcenters.training.batches import TensorBatches, held_out_split

__all__ = ["WeightSweep", "sweep_quantization_weight"]

_EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class WeightSweep:
    """What ``sweep_quantization_weight`` found.

    Attributes:
        weights: the weights tried, in the order given.
        maps: expected mAP of each on the validation images.
        n_train: images that were trained on, and searched in.
        n_validation: images held out, the queries.

    Examples:
        >>> sweep = WeightSweep((0.0, 0.01), (0.512, 0.526), 900, 100)
        >>> sweep.best
        0.01
        >>> print(sweep)
        quantization_weight  mAP (100 queries held out, 900 images searched)
        0                    0.5120
        0.01                 0.5260  best
    """

    weights: tuple[float, ...]
    maps: tuple[float, ...]
    n_train: int
    n_validation: int

    @property
    def best(self) -> float:
        """The weight with the highest mAP; of equal ones the first."""
        return self.weights[self.maps.index(max(self.maps))]

    def __str__(self) -> str:
        rows = [f"quantization_weight  mAP ({self.n_validation} queries held out, {self.n_train} images searched)"]
        for weight, value in zip(self.weights, self.maps, strict=True):
            rows.append(f"{weight:<19g}  {value:.4f}{'  best' if weight == self.best else ''}")
        return "\n".join(rows)


def sweep_quantization_weight(
    make_network: Callable[[], nn.Module],
    centers: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    train: Callable[[nn.Module, nn.Module, TensorBatches], object],
    weights: Sequence[float] = (0.0, 1e-4, 1e-3, 1e-2, 1e-1),
    batch_size: int = 128,
    validation_share: float = 0.1,
    top_k: int | None = None,
    seed: int = 0,
) -> WeightSweep:
    """Find the weight of L_Q by grid search, as the paper finds its λ₁, without a look at the test images.

    Some training images are held out; for every weight a fresh network is trained on the others with
    ``CentralSimilarityLoss``, and the images held out are the queries that search the others. All weights start from
    the same parameters and see the same batches in the same order. torch's generators are left as they were.

    Args:
        make_network: returns a new network from images to logits.
        centers: float (n_classes, n_bits) of ±1.
        images: the training images, (N, ...).
        labels: class ids (N,), or multi-hot (N, n_classes).
        train: called as ``train(network, loss_fn, batches)``, trains the network; usually a call of ``fit`` with an
            optimizer made there.
        weights: values of ``quantization_weight`` to try, n_bits times the paper's λ₁.
        batch_size: of the batches that ``train`` gets.
        validation_share: share of the images to hold out, in (0, 1). With class ids it is the share of every class,
            rounded, and at least one image of a class stays for training.
        top_k: items that count in average precision; None for all.
        seed: 0..2**63 - 1; decides the split, the order of the batches, the loss's ties, and torch's generators during
            the making and training of each network.

    Returns:
        The weights and their mAP.

    Raises:
        TypeError: centers or labels of a wrong type.
        ValueError: no weights or a bad one, a share outside (0, 1) or too small to hold out an image, images and labels
            of different number, too few images for a batch.

    Examples:
        >>> from hashcenters import HashCenterGenerator
        >>> from hashcenters.training import fit
        >>> generator = torch.Generator().manual_seed(0)
        >>> labels = torch.arange(200) % 4
        >>> images = torch.eye(4)[labels] + torch.randn(200, 4, generator=generator) / 4
        >>> def train(network, loss_fn, batches):
        ...     fit(network, loss_fn, batches, optimizer=torch.optim.SGD(network.parameters(), lr=1.0), n_epochs=3)
        >>> sweep = sweep_quantization_weight(
        ...     lambda: torch.nn.Linear(4, 16),
        ...     HashCenterGenerator(16)(4),
        ...     images,
        ...     labels,
        ...     train=train,
        ...     weights=(0.0, 0.1),
        ...     batch_size=20,
        ... )
        >>> len(sweep.maps), sweep.n_train, sweep.n_validation
        (2, 180, 20)
    """
    check_centers(centers)
    check_labels(labels, len(centers), n_rows=len(images))
    if not weights:
        raise ValueError("weights must hold at least one weight to try")
    for weight in weights:
        check_weight(weight, "weights")
    seed = check_seed(seed)
    training, validation = held_out_split(labels, validation_share, seed)

    maps: list[float] = []
    before: set[nn.Parameter] = set()
    for weight in weights:
        loss_fn = CentralSimilarityLoss(centers, quantization_weight=weight, seed=seed)
        batches = TensorBatches(images[training], labels[training], batch_size=batch_size, seed=seed)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            network = make_network()
            parameters = {parameter for parameter in network.parameters() if parameter.requires_grad}
            if parameters & before:
                raise ValueError(
                    "make_network must return a new network every time, got one with parameters of the last; copy what "
                    "they share, such as copy.deepcopy(backbone)"
                )
            before = parameters
            train(network, loss_fn, batches)
        evaluator = HammingRetrievalEvaluator(centers.shape[1], top_k=top_k)
        for add, rows in ((evaluator.add_database, training), (evaluator.add_queries, validation)):
            add(_logits(network, images[rows]), labels[rows])
        maps.append(evaluator.compute().map)
    return WeightSweep(tuple(weights), tuple(maps), len(training), len(validation))


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of all images, on the CPU."""
    device = next((parameter.device for parameter in network.parameters()), images.device)
    network.eval()
    with torch.no_grad():
        return torch.cat([network(part.to(device)).float().cpu() for part in torch.split(images, _EVALUATION_BATCH)])
