"""Do better centers give better retrieval? The same small network, trained towards each set of centers in turn.

The task has many classes for the bits: pictures of two Fashion-MNIST garments side by side, 100 classes (left, right).
Training and database pairs are drawn from Fashion-MNIST's training images, queries from its test images. Nothing is
tuned per method. A seed decides the training pairs, their order, the weights and the centers. The similarity of the
classes comes from the mean pixels of the training pairs and their labels, nothing else.

    python examples/compare_centers.py --bits 16 --methods paper auto auto+assigned     # about two minutes

Reported is mAP, expected over tie orders and divided by min(k, relevant items), of the first 1,000 and of all items.
"""

import argparse
import csv
import itertools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hashcenters import CentralSimilarityLoss, HammingRetrievalEvaluator, HashCenterGenerator, HashHead
from hashcenters.centers import center_report, closeness_correlation, similarity_from_features
from hashcenters.data.synthetic import DEBIAN_FOLDER, two_garments
from hashcenters.models import Hasher

N_CLASSES = 100
# The generators that place centers by similarity only if asked to, by "+assigned". Colours of hashcenters.plots.
COLORS = {"paper": "#3f90da", "bernoulli": "#717581", "maxhd": "#ffa90e", "mds": "#832db6", "auto": "#bd1f01"}
METHODS = [*COLORS, *(f"{name}+assigned" for name in COLORS), "semantic"]


class Run(NamedTuple):
    """One trained network: a row of the CSV."""

    n_bits: int
    method: str
    seed: int
    min_distance: int
    correlation: float  # of class similarity and closeness of the centers
    map_1k: float
    map_all: float
    centers_s: float
    train_s: float


def pairs(root: Path, split: Literal["train", "database", "query"], n_pairs: int, seed: int = 0) -> TensorDataset:
    """Return pictures (n_pairs, 1, 28, 56), of about zero mean and unit variance, and their classes."""
    images, labels = two_garments(root, split=split, n_pairs=n_pairs, seed=seed).tensors
    return TensorDataset((images.float() - 73) / 90, labels)


def small_cnn(n_bits: int) -> Hasher:
    """Return three strided convolutions and the paper's three fully connected layers."""
    layers: list[nn.Module] = []
    for inputs, outputs, size in ((1, 16, 5), (16, 32, 3), (32, 64, 3)):
        convolution = nn.Conv2d(inputs, outputs, size, stride=2, padding=size // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    head = HashHead(64 * 4 * 7, n_bits, hidden_features=(256, 256))
    return Hasher(nn.Sequential(*layers, nn.Flatten()), head)


def make_centers(method: str, n_bits: int, similarity: Tensor, seed: int) -> Tensor:
    name, _, assigned = method.partition("+")
    generator = HashCenterGenerator(n_bits, method=name, seed=seed)  # type: ignore[arg-type]
    return generator(N_CLASSES, similarity=similarity if assigned or name == "semantic" else None)


def train(training: TensorDataset, centers: Tensor, epochs: int, seed: int) -> Hasher:
    torch.manual_seed(seed)
    network, loss_fn = small_cnn(centers.shape[1]), CentralSimilarityLoss(centers)
    loader = DataLoader(training, batch_size=128, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
    for _ in range(epochs):
        for images, labels in loader:
            loss = loss_fn(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def evaluate(network: Hasher, database: TensorDataset, queries: TensorDataset, top_k: int | None) -> float:
    """Return the mean average precision of the first top_k items, or of all."""
    evaluator = HammingRetrievalEvaluator(network.n_bits, top_k=top_k, ap_denominator="min")
    evaluator.add_database(*network.encode(DataLoader(database, batch_size=2000), progress=False))
    evaluator.add_queries(*network.encode(DataLoader(queries, batch_size=2000), progress=False))
    return evaluator.compute().map


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample's standard deviation, NaN for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def table_row(runs: Sequence[Run]) -> str:
    """Return the seeds of one method and code length as a line: least distance, means, median seconds."""
    n_bits, method, _, distances, correlations, at_1k, at_all, making, training = zip(*runs, strict=True)
    (mean_1k, std_1k), (mean_all, std_all) = mean_std(at_1k), mean_std(at_all)
    return (
        f"{n_bits[0]:4} {method[0]:18} {min(distances):8} {statistics.fmean(correlations):11.3f} "
        f"{mean_1k:7.3f} ± {std_1k:.3f} {mean_all:7.3f} ± {std_all:.3f} "
        f"{statistics.median(making):8.2f} {statistics.median(training):7.1f}"
    )


def draw(table: dict[tuple[int, str], list[Run]], ax: Axes) -> None:
    """Draw mAP@1000 by code length; squares are placed by similarity, diamonds shaped by it."""
    lengths, methods = (list(dict.fromkeys(keys)) for keys in zip(*table, strict=True))
    for place, method in enumerate(methods):
        x = [group + 0.76 * ((place + 0.5) / len(methods) - 0.5) for group in range(len(lengths))]
        points = [mean_std([run.map_1k for run in table[length, method]]) for length in lengths]
        mean, error = zip(*points, strict=True)
        color, hollow = COLORS.get(method.partition("+")[0], "#e76300"), "+" in method
        marker, face = ("s", "white") if hollow else ("D" if method == "semantic" else "o", color)
        ax.errorbar(x, mean, error, fmt=marker, color=color, markerfacecolor=face, ms=5, capsize=2.5, label=method)
    ax.set_xticks(range(len(lengths)), [f"{length} bits" for length in lengths])
    n_seeds = len(next(iter(table.values())))
    ax.set(ylabel=f"mAP@1000 (mean ± std, {n_seeds} seeds)", xlim=(-0.5, len(lengths) - 0.5))
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    for group in range(1, len(lengths)):
        ax.axvline(group - 0.5, color="0.8", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train one small network for every set of centers, and compare.")
    parser.add_argument("--root", default=DEBIAN_FOLDER, type=Path, help="Fashion-MNIST's files (default: %(default)s)")
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64], help="code lengths (default: 16 32 64)")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="which centers (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the pairs (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=15_000, help="to train on; the database has twice as many")
    parser.add_argument("--out", type=Path, default=Path("runs/centers"), help="where to write (default: %(default)s)")
    args = parser.parse_args(argv)
    # 100 classes need 7 bits, and every class some pairs.
    for name, minimum in (("bits", 7), ("seeds", 1), ("epochs", 1), ("pairs", 1500)):
        value = min(args.bits) if name == "bits" else getattr(args, name)
        if value < minimum:
            parser.error(f"--{name} must be at least {minimum}, got {value}")

    # 1. The pairs, and which classes look alike.
    try:
        database = pairs(args.root, "database", 2 * args.pairs)
        queries = pairs(args.root, "query", args.pairs // 15 * 2)
        trainings = [pairs(args.root, "train", args.pairs, seed) for seed in range(args.seeds)]
    except FileNotFoundError as error:
        sys.exit(str(error))
    samples = [training.tensors for training in trainings]
    similarities = [similarity_from_features(images.flatten(1), labels, N_CLASSES) for images, labels in samples]

    # 2. A network for every code length, method and seed.
    torch.set_num_threads(1)  # more do not help so small a network
    args.out.mkdir(parents=True, exist_ok=True)
    table: dict[tuple[int, str], list[Run]] = {}
    print("bits method             distance correlation          mAP@1k         mAP@all  centers   train", flush=True)
    with (args.out / "compare_centers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(Run._fields)
        for n_bits, method in itertools.product(args.bits, args.methods):
            table[n_bits, method] = []
            for seed, (training, similarity) in enumerate(zip(trainings, similarities, strict=True)):
                started = time.perf_counter()
                centers = make_centers(method, n_bits, similarity, seed)
                made = time.perf_counter()
                network = train(training, centers, args.epochs, seed)
                trained = time.perf_counter()
                distance, closeness = center_report(centers).min_distance, closeness_correlation(centers, similarity)
                at_1k, at_all = (evaluate(network, database, queries, k) for k in (1000, None))
                run = Run(n_bits, method, seed, distance, closeness, at_1k, at_all, made - started, trained - made)
                table[n_bits, method].append(run)
                rows.writerow(run)
                file.flush()
            print(table_row(table[n_bits, method]), flush=True)

    # 3. Draw.
    _, ax = plt.subplots(figsize=(2.2 + 1.8 * len(args.bits), 3.6), layout="constrained")
    draw(table, ax)
    plt.savefig(args.out / "compare_centers.png", dpi=150)
    plt.close("all")
    print(f"In {args.out}/ are compare_centers.csv (a row a network) and compare_centers.png")


if __name__ == "__main__":
    main()
