"""Which method? Every loss of hashcenters on the same small network: one budget, the same seeds, nothing tuned.

    python benchmarks/methods.py --workers 2            # everything; goes on where it was stopped
    python benchmarks/methods.py --tasks garments100 --bits 64 --methods csq hashnet --seeds 1
    python benchmarks/methods.py report                 # tables and pictures of what there is

Tasks, all from Fashion-MNIST's four files: "fashion", 10 classes; "garments100", two garments side by side, a class is
(left, right); "multilabel", the same pictures, labelled by the set of the two. The network is three convolutions and
fully connected layers 256-256-bits, trained by Adam at 1e-3 under a cosine, 128 pictures a batch, in one thread. A seed
decides the training pictures, their order, the weights and the centers.

* Methods with learned centers (face, magnet, repmet) have the same budget as the others: the first half of the steps
  learns centers, the second trains the same network towards their signs by central similarity. Either half has an Adam
  and a cosine of its own.
* Shallow methods, and "csq-head" (fully connected layers under central similarity), see features of a frozen
  EfficientNet-Lite0 with ImageNet weights, and 5,000 training pictures at most.
* mAP is the expectation over the orders of ties, divided by min(k, relevant items). Fashion's database contains the
  training pictures.
* Seconds are CPU time of one thread: "setup_s" makes the centers or codes, "train_s" trains. "curve" is mAP of all
  items, estimated during the training on 5,000 items and 500 queries; its time does not count.

In the folder of --out: runs.csv, a finished run a line; methods.md and PNG pictures; the features that were computed.
"""

import argparse
import csv
import functools
import itertools
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib.pyplot as plt
import numba
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn

from hashcenters import CentralSimilarityLoss, HammingRetrievalEvaluator, HashCenterGenerator, HashHead
from hashcenters.centers import similarity_from_features
from hashcenters.data.synthetic import DEBIAN_FOLDER, fashion_mnist, two_garments
from hashcenters.losses.contrast import CenterContrastLoss
from hashcenters.losses.cosine import BatchNormHead, MDSLoss, OrthoHashLoss
from hashcenters.losses.greedy import GreedyHashLoss
from hashcenters.losses.learned import FaceCenterLoss, MagnetCenterLoss, RepMetCenterLoss
from hashcenters.losses.margin import DPNLoss
from hashcenters.losses.pairwise import DCHLoss, DHNLoss, DPSHLoss, HashNetLoss, PairwiseSimilarityLoss
from hashcenters.losses.triplet import DivideAndEncodeHead, DNNHLoss
from hashcenters.losses.two_stage import CNNHLoss, cnnh_codes
from hashcenters.models.image import lite0_backbone
from hashcenters.shallow import BRE, ITQ, ITQCCA, KSH, LSH, SDH
from hashcenters.training import Epoch, TensorBatches, fit, trainable_parameters
from hashcenters.training.batches import permutation

BATCH = 128
TARGET_MAP = 0.35
ESTIMATE_ITEMS, ESTIMATE_QUERIES = 5000, 500
FROZEN_TRAINING = 5000
CHOICE_STREAM = 60  # which of a seed's random streams chooses fashion's training pictures

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Split: TypeAlias = Literal["train", "database", "query"]


class Task(NamedTuple):
    """What is to be learned, and how long."""

    name: str
    n_classes: int
    n_train: int
    n_database: int
    n_queries: int
    epochs: dict[int, int]  # by code length


TASKS = (
    Task("fashion", 10, 10_000, 60_000, 4_000, {64: 8, 16: 8}),
    Task("garments100", 100, 15_000, 30_000, 2_000, {64: 8, 16: 5}),
    Task("multilabel", 10, 10_000, 30_000, 2_000, {64: 6, 16: 6}),
)
# Not by default: six times the pictures, searched for among themselves or among others.
LARGE_TASKS = (
    Task("fashion60k", 10, 60_000, 60_000, 4_000, {64: 8, 16: 8}),
    Task("fashion60k-disjoint", 10, 60_000, 5_000, 4_000, {64: 8, 16: 8}),
)
# For a look whether all runs; every class needs some pictures.
SMALL_TASKS = (
    Task("fashion", 10, 600, 2_000, 200, {64: 1, 16: 1}),
    Task("garments100", 100, 1_500, 2_000, 200, {64: 2, 16: 1}),
    Task("multilabel", 10, 600, 2_000, 200, {64: 1, 16: 1}),
)
TIMED = ("garments100", 64)


class Job(NamedTuple):
    """One network to train, and all that decides its result."""

    task: str
    n_bits: int
    method: str
    seed: int
    epochs: int
    n_train: int
    n_database: int
    n_queries: int


class Run(NamedTuple):
    """What became of a job; with its fields in front, a line of the CSV."""

    map_all: float
    map_1k: float
    precision_h2: float
    setup_s: float
    train_s: float
    seconds_to_target: float  # NaN where it was not reached, or not looked at
    curve: str  # "seconds:mAP;..."
    note: str  # why there is no result


FIELDS = (*Job._fields, *Run._fields)


class Problem(NamedTuple):
    """What a method may look at: training pictures or features, float, and labels (N,) or (N, n_classes)."""

    images: Tensor
    labels: Tensor
    n_classes: int
    n_bits: int
    seed: int


class Plan(NamedTuple):
    """How a method trains the network."""

    loss_fn: Loss
    head: nn.Module | None = None  # from 256 features to logits; None is a linear layer
    targets: Tensor | None = None  # a row a training sample, in the place of labels
    then: Callable[[], Loss] | None = None  # makes the loss of the second half of the steps


class Refused(Exception):
    """What a method cannot be trained with, such as learned centers that coincide: a result, where a bug is none."""


@contextmanager
def refusals() -> Iterator[None]:
    """Around what a method may refuse to do; errors of training itself are bugs and stop the program."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise Refused(f"{type(error).__name__}: {error}") from error


# Methods: what each trains with.


def centers(problem: Problem, method: Any = "auto", *, placed: bool = False) -> Tensor:
    """Return centers, placed so that classes whose pictures look alike have near ones, if asked to."""
    similarity = None
    if placed:
        similarity = similarity_from_features(problem.images.flatten(1), problem.labels, problem.n_classes)
    generator = HashCenterGenerator(problem.n_bits, method=method, seed=problem.seed)
    return generator(problem.n_classes, similarity=similarity)


def central(problem: Problem, targets: Tensor | None = None, quantization_weight: float = 1e-4) -> Loss:
    return CentralSimilarityLoss(
        centers(problem) if targets is None else targets,
        quantization_weight=quantization_weight,
        seed=problem.seed,
    )


def ours(
    problem: Problem,
    method: str = "semantic",
    *,
    margin: float = 0.2,
    central_weight: float | None = None,
    pair_weight: float = 3.0,
) -> Plan:
    placed = centers(problem, method, placed=method == "semantic")
    return Plan(
        CenterContrastLoss(
            placed, margin=margin, central_weight=central_weight, pair_weight=pair_weight, seed=problem.seed
        )
    )


def dpn(problem: Problem) -> Plan:
    return Plan(DPNLoss(centers(problem, "bernoulli"), seed=problem.seed))


def all_terms(problem: Problem) -> Plan:
    """L_C + 0.2 L_P + L_Q of the paper's Table 6."""
    to_centers, to_pairs = central(problem), PairwiseSimilarityLoss()
    return Plan(lambda logits, labels: to_centers(logits, labels) + 0.2 * to_pairs(logits, labels))


def cnnh(problem: Problem) -> Plan:
    return Plan(CNNHLoss(), targets=cnnh_codes(problem.labels, problem.n_bits, seed=problem.seed))


class SoftmaxLoss(nn.Module):
    """Cross-entropy of a linear classifier of tanh(logits): no hashing but the sign. Several labels share it."""

    def __init__(self, n_classes: int, n_bits: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(n_bits, n_classes)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over samples."""
        if labels.ndim == 2:
            labels = labels.float() / labels.sum(dim=1, keepdim=True)
        return F.cross_entropy(self.classifier(torch.tanh(logits)), labels)


def learned(problem: Problem, kind: type[FaceCenterLoss] | type[MagnetCenterLoss] | type[RepMetCenterLoss]) -> Plan:
    """Half of the steps to learn centers, half to train towards their signs."""
    loss_fn = kind(problem.n_classes, problem.n_bits)
    return Plan(loss_fn, then=lambda: central(problem, loss_fn.centers))


METHODS: dict[str, Callable[[Problem], Plan]] = {
    "csq": lambda problem: Plan(central(problem)),
    "csq-paper": lambda problem: Plan(central(problem, centers(problem, "paper"))),
    "csq-placed": lambda problem: Plan(central(problem, centers(problem, placed=True))),
    "ours": ours,
    "orthohash": lambda problem: Plan(OrthoHashLoss(centers(problem)), BatchNormHead(256, problem.n_bits)),
    "dpn": dpn,
    "mds": lambda problem: Plan(MDSLoss(centers(problem, "mds"))),
    "face": lambda problem: learned(problem, FaceCenterLoss),
    "magnet": lambda problem: learned(problem, MagnetCenterLoss),
    "repmet": lambda problem: learned(problem, RepMetCenterLoss),
    "hashnet": lambda problem: Plan(HashNetLoss()),
    "dch": lambda problem: Plan(DCHLoss()),
    "dhn": lambda problem: Plan(DHNLoss()),
    "dpsh": lambda problem: Plan(DPSHLoss()),
    "dnnh": lambda problem: Plan(DNNHLoss(), DivideAndEncodeHead(256, problem.n_bits)),
    "cnnh": cnnh,
    "greedyhash": lambda problem: Plan(GreedyHashLoss(problem.n_classes, problem.n_bits)),
    "softmax": lambda problem: Plan(SoftmaxLoss(problem.n_classes, problem.n_bits)),
    "csq-no-lq": lambda problem: Plan(central(problem, quantization_weight=0.0)),
    "lp+lq": lambda problem: Plan(PairwiseSimilarityLoss(quantization_weight=1e-4)),
    "lc+lp+lq": all_terms,
    "ours-auto": lambda problem: ours(problem, "auto"),
    "ours-no-central": lambda problem: ours(problem, central_weight=0),
    "ours-no-margin": lambda problem: ours(problem, margin=0),
    "ours-no-pairs": lambda problem: ours(problem, pair_weight=0),
    "csq-semantic": lambda problem: Plan(central(problem, centers(problem, "semantic", placed=True))),
}
HEAD = "csq-head"
SHALLOW: dict[str, Any] = {"lsh": LSH, "itq": ITQ, "itqcca": ITQCCA, "sdh": SDH, "ksh": KSH, "bre": BRE}
FROZEN = (HEAD, *SHALLOW)

FAMILIES = {
    "fixed centers": ("csq", "csq-paper", "csq-placed", "ours", "orthohash", "dpn", "mds"),
    "learned centers": ("face", "magnet", "repmet"),
    "pairs and triplets": ("hashnet", "dch", "dhn", "dpsh", "dnnh", "cnnh"),
    "classifiers": ("greedyhash", "softmax"),
    "terms of CSQ": ("csq-no-lq", "lp+lq", "lc+lp+lq"),
    "terms of ours": ("ours-auto", "ours-no-central", "ours-no-margin", "ours-no-pairs", "csq-semantic"),
    "frozen features": FROZEN,
}
COLORS = dict(zip(FAMILIES, ("#3f90da", "#832db6", "#ffa90e", "#a96b59", "#92dadd", "#e76300", "#717581"), strict=True))
OURS_COLOR = "#bd1f01"
ALL_METHODS = tuple(itertools.chain.from_iterable(FAMILIES.values()))
# Parts of a method are not beside it in the tables of methods.
COMPARED = tuple(method for method in ALL_METHODS if method not in FAMILIES["terms of ours"])


# Data.


@functools.cache
def pictures(root: Path, task: str, split: Split, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return pictures, uint8, and labels; the seed matters to the training split alone."""
    if not task.startswith("fashion"):
        data = two_garments(root, split=split, n_pairs=n, seed=seed, multi_label=task == "multilabel")
        return data.tensors[0], data.tensors[1]
    disjoint = task == "fashion60k-disjoint" and split == "database"
    images, labels = fashion_mnist(root, "test" if split == "query" or disjoint else "train").tensors
    if disjoint:  # the queries are the first of the test pictures
        images, labels = images[-n:], labels[-n:]
    if split == "train":
        rows = balanced(labels, n, seed)
        return images[rows], labels[rows]
    if len(labels) < n:
        raise ValueError(f"fashion's {split} needs {n} pictures, but {root} has {len(labels)}")
    return images[:n], labels[:n]


def balanced(labels: Tensor, n: int, seed: int) -> Tensor:
    """Return n rows in random order, as many of each of the ten classes."""
    order = permutation(len(labels), seed, CHOICE_STREAM)
    rank = F.one_hot(labels[order], 10).cumsum(dim=0).gather(1, labels[order][:, None])[:, 0]
    rows = order[rank <= n // 10]
    if len(rows) < n:
        raise ValueError(f"fashion's training needs {n // 10} pictures of every class, but one has fewer")
    return rows


def normalized(images: Tensor) -> Tensor:
    """Return pixels of about zero mean and unit variance."""
    return (images.float() - 73) / 90


def features_file(out: Path, task: str, split: Split, n: int, seed: int) -> Path:
    return out / "features" / f"{task if task.startswith('fashion') else 'garments'}-{split}-{n}-{seed}.npy"


def compute_features(root: Path, out: Path, task: str, split: Split, n: int, n_used: int, seed: int) -> None:
    """Store the frozen backbone's features (n_used, 1280), float16, of the first pictures of a split."""
    file = features_file(out, task, split, n_used, seed)
    if file.exists():
        return
    images = pictures(root, task, split, n, seed)[0][:n_used]
    backbone = lite0_backbone().eval().to(memory_format=torch.channels_last)
    width = 64 * images.shape[3] // 28
    parts = []
    with torch.inference_mode():
        for part in torch.split(images, 100):
            large = F.interpolate(part.float() / 255, (64, width), mode="bilinear", antialias=True)
            large = (large.expand(-1, 3, -1, -1) - 0.5) / 0.5
            parts.append(backbone(large.contiguous(memory_format=torch.channels_last)).half().numpy())
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with partial.open("wb") as stream:
        np.save(stream, np.concatenate(parts))
    partial.replace(file)


# Training and measuring.


class Quarters:
    """A loader whose every pass is the next quarter of a pass of another."""

    def __init__(self, batches: TensorBatches) -> None:
        self.batches = batches
        self.rest: Iterator[tuple[Tensor, ...]] = iter(())
        self.part = 0

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self.part == 0:
            self.rest = iter(self.batches)
        start, stop = (len(self.batches) * part // 4 for part in (self.part, self.part + 1))
        self.part = (self.part + 1) % 4
        return itertools.islice(self.rest, stop - start)


def small_cnn(problem: Problem) -> nn.Module:
    """Return three strided convolutions and two fully connected layers, of 256 features."""
    layers: list[nn.Module] = []
    for inputs, outputs, size in ((1, 16, 5), (16, 32, 3), (32, 64, 3)):
        convolution = nn.Conv2d(inputs, outputs, size, stride=2, padding=size // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(64 * 4 * -(-problem.images.shape[3] // 8), 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 256), nn.ReLU())


def train(
    network: nn.Module, plan: Plan, problem: Problem, epochs: int, estimate: Callable[[], float] | None = None
) -> tuple[float, list[tuple[float, float]]]:
    """Train; return the CPU seconds, and the estimates of mAP by seconds."""
    targets = problem.labels if plan.targets is None else plan.targets
    loader = Quarters(TensorBatches(problem.images, targets, batch_size=BATCH, seed=problem.seed))
    curve = [] if estimate is None else [(0.0, estimate())]
    n_quarters, seconds, started = 0, 0.0, time.process_time()

    def after_quarter(_: Epoch) -> None:
        nonlocal n_quarters, seconds, started
        seconds += time.process_time() - started
        n_quarters += 1
        # Every quarter until the target is reached, then every epoch.
        if estimate is not None and (n_quarters % 4 == 0 or max(value for _, value in curve) < TARGET_MAP):
            curve.append((seconds, estimate()))
        started = time.process_time()

    def phase(loss_fn: Loss, n: int) -> None:
        optimizer = torch.optim.Adam(trainable_parameters(network, loss_fn), lr=1e-3)
        n_steps = -(-n * len(loader.batches) // 4)
        fit(
            network,
            loss_fn,
            loader,
            optimizer=optimizer,
            n_epochs=n,
            schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps),
            accelerator=Accelerator(cpu=True),
            after_epoch=after_quarter,
        )

    if plan.then is None:
        phase(plan.loss_fn, 4 * epochs)
    else:
        phase(plan.loss_fn, 2 * epochs)
        with refusals():
            second = plan.then()
        phase(second, 2 * epochs)
    return seconds, curve


def logits_of(network: nn.Module, inputs: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the logits of all inputs; the network is in eval mode afterwards."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(prepare(part)) for part in torch.split(inputs, 1000)])


def seconds_to(target: float, curve: Sequence[tuple[float, float]]) -> float:
    """Return when a curve first reaches a value, by linear interpolation; NaN if it does not."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= target:
            return before if low >= target else before + (after - before) * (target - low) / (high - low)
    return math.nan


def measure(n_bits: int, database: tuple[Any, Tensor], queries: tuple[Any, Tensor]) -> tuple[float, float, float]:
    """Return mAP of all items and of the first 1,000, and the precision within Hamming radius 2."""
    evaluator = HammingRetrievalEvaluator(n_bits, top_k=(None, 1000), radius=2, ap_denominator="min")
    evaluator.add_database(*database)
    evaluator.add_queries(*queries)
    result = evaluator.compute()
    return result.map, result.map_at[1000].expected, float(result.precision_within_radius[2])


def run(root: Path, out: Path, job: Job) -> Run:
    """Train what a job says and measure it; a method that refuses has a note instead of a result."""
    try:
        return run_frozen(root, out, job) if job.method in FROZEN else run_network(root, job)
    except Refused as error:
        note = " ".join(str(error).replace(",", ";").split())
        nan = math.nan
        return Run(nan, nan, nan, nan, nan, nan, "", note[:300])


def splits(root: Path, job: Job) -> Iterable[tuple[Tensor, Tensor]]:
    """Return training, database and queries."""
    yield pictures(root, job.task, "train", job.n_train, job.seed)
    yield pictures(root, job.task, "database", job.n_database, 0)
    yield pictures(root, job.task, "query", job.n_queries, 0)


def run_network(root: Path, job: Job) -> Run:
    (images, labels), (items, item_labels), (queries, query_labels) = splits(root, job)
    problem = Problem(normalized(images), labels, n_classes(job.task), job.n_bits, job.seed)
    torch.manual_seed(job.seed)
    body = small_cnn(problem)
    started = time.process_time()
    with refusals():
        plan = METHODS[job.method](problem)
    setup = time.process_time() - started
    network = nn.Sequential(body, nn.Linear(256, job.n_bits) if plan.head is None else plan.head)

    def quality(n_items: int | None, n_queries: int | None) -> tuple[float, float, float]:
        return measure(
            job.n_bits,
            (logits_of(network, items[:n_items], normalized), item_labels[:n_items]),
            (logits_of(network, queries[:n_queries], normalized), query_labels[:n_queries]),
        )

    estimate = None
    if (job.task, job.n_bits) == TIMED:

        def estimate() -> float:
            return quality(ESTIMATE_ITEMS, ESTIMATE_QUERIES)[0]

    seconds, curve = train(network, plan, problem, job.epochs, estimate)
    points = ";".join(f"{at:.3f}:{value:.4f}" for at, value in curve)
    return Run(*quality(None, None), setup, seconds, seconds_to(TARGET_MAP, curve), points, "")


def run_frozen(root: Path, out: Path, job: Job) -> Run:
    def features(split: Split, n: int, seed: int) -> Tensor:
        return torch.from_numpy(np.load(features_file(out, job.task, split, n, seed))).float()

    n_train = min(job.n_train, FROZEN_TRAINING)
    (_, labels), (_, item_labels), (_, query_labels) = splits(root, job)
    training, labels = features("train", n_train, job.seed), labels[:n_train]
    items, queries = features("database", job.n_database, 0), features("query", job.n_queries, 0)
    setup = 0.0
    if job.method == HEAD:
        problem = Problem(training, labels, n_classes(job.task), job.n_bits, job.seed)
        torch.manual_seed(job.seed)
        network = HashHead(training.shape[1], job.n_bits, hidden_features=(256, 256))
        started = time.process_time()
        plan = Plan(central(problem))
        setup = time.process_time() - started
        seconds, _ = train(network, plan, problem, job.epochs)
        codes = [logits_of(network, part, lambda values: values) for part in (items, queries)]
    else:
        started = time.process_time()
        with refusals():
            estimator = SHALLOW[job.method](job.n_bits, random_state=job.seed).fit(training.numpy(), labels.numpy())
        seconds = time.process_time() - started
        codes = [torch.from_numpy(estimator.transform(part.numpy())) for part in (items, queries)]
    measured = measure(job.n_bits, (codes[0], item_labels), (codes[1], query_labels))
    return Run(*measured, setup, seconds, math.nan, "", "")


def n_classes(task: str) -> int:
    return next(one.n_classes for one in (*TASKS, *LARGE_TASKS) if one.name == task)


# The table of runs.


def read_runs(file: Path) -> dict[Job, Run]:
    """Return the complete lines of runs.csv."""
    if not file.exists():
        return {}
    runs = {}
    with file.open(newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows, None)
        if header is None:
            return {}
        if header != list(FIELDS):
            sys.exit(f"{file} has other columns than this program writes; use another --out")
        for row in rows:
            if len(row) == len(FIELDS):  # not a line that a stopped machine left half written
                task, n_bits, method, *numbers = row[: len(Job._fields)]
                job = Job(task, int(n_bits), method, *map(int, numbers))
                map_all, map_1k, precision, setup, seconds, target = map(float, row[len(Job._fields) : -2])
                runs[job] = Run(map_all, map_1k, precision, setup, seconds, target, row[-2], row[-1])
    return runs


def append_line(file: Path, values: Iterable[object]) -> None:
    """Append one line, whole or not at all as far as other processes can see."""
    line = ",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in values) + "\n"
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def prepare_file(file: Path) -> None:
    """See to it that the next line starts on a line of its own, below a header."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = file.read_bytes() if file.exists() else b""
    if not text:
        append_line(file, FIELDS)
    elif not text.endswith(b"\n"):
        append_line(file, [""])


def prepare_process() -> None:
    """One thread for everything, and torch warmed up so that the first run is timed like the others."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    threadpool_limits(1)
    layer = nn.Conv2d(1, 4, 3)
    layer(torch.zeros(8, 1, 8, 8)).sum().backward()


def run_all(root: Path, out: Path, jobs: Sequence[Job], workers: int) -> None:
    """Run what runs.csv does not have yet."""
    file = out / "runs.csv"
    done = read_runs(file)
    pending = [job for job in jobs if job not in done]
    if len(pending) < len(jobs):
        print(f"{len(jobs) - len(pending)} of {len(jobs)} runs are in {file} already", flush=True)
    prepare_file(file)
    needed: dict[Path, tuple[Any, ...]] = {}
    for job in pending:
        if job.method in FROZEN:
            n_train = min(job.n_train, FROZEN_TRAINING)
            for split, n, n_used, seed in (
                ("train", job.n_train, n_train, job.seed),
                ("database", job.n_database, job.n_database, 0),
                ("query", job.n_queries, job.n_queries, 0),
            ):
                target = features_file(out, job.task, split, n_used, seed)  # type: ignore[arg-type]
                needed.setdefault(target, (job.task, split, n, n_used, seed))
    if workers == 1:
        prepare_process()
        for arguments in needed.values():
            compute_features(root, out, *arguments)
        for number, job in enumerate(pending, start=1):
            finish(file, number, len(pending), job, run(root, out, job))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_process) as pool:
        for future in [pool.submit(compute_features, root, out, *arguments) for arguments in needed.values()]:
            future.result()
        futures = {pool.submit(run, root, out, job): job for job in pending}
        try:
            for number, ended in enumerate(as_completed(futures), start=1):
                finish(file, number, len(pending), futures[ended], ended.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def finish(file: Path, number: int, n_jobs: int, job: Job, result: Run) -> None:
    append_line(file, (*job, *result))
    found = result.note or f"mAP {result.map_all:.3f}, @1k {result.map_1k:.3f}, {result.train_s:.1f} s"
    print(f"{number}/{n_jobs} {job.task} {job.n_bits} bits, {job.method}, seed {job.seed}: {found}", flush=True)


# The report. A column is a task and a code length.

Column: TypeAlias = tuple[str, int]
Table: TypeAlias = dict[Column, dict[str, list[Run]]]


def tabulate(runs: dict[Job, Run], tasks: Sequence[Task], scale: float) -> Table:
    """Return the runs of these settings by column and method, in the order of seeds."""
    table: Table = {}
    for task, n_bits in itertools.product(tasks, sorted({job.n_bits for job in runs}, reverse=True)):
        column: dict[str, list[Run]] = {}
        for method in ALL_METHODS:
            settings = make_job(task, n_bits, method, 0, scale)
            found = {job.seed: result for job, result in runs.items() if job._replace(seed=0) == settings}
            if found:
                column[method] = [found[seed] for seed in sorted(found)]
        if column:
            table[task.name, n_bits] = column
    return table


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample's standard deviation of what is there, NaN for fewer than one and two values."""
    there = [value for value in values if not math.isnan(value)]
    return (
        statistics.fmean(there) if there else math.nan,
        statistics.stdev(there) if len(there) > 1 else math.nan,
    )


def short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def title(column: Column) -> str:
    return f"{column[0]} {column[1]} bits"


def count(n: int, noun: str = "seed") -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def n_seeds(by_method: dict[str, list[Run]]) -> int:
    return max(map(len, by_method.values()))


def table_head(table: Table) -> list[str]:
    """Return the names of columns; one of fewer seeds than another says how many."""
    most = max(map(n_seeds, table.values()))
    numbers = {column: n_seeds(by_method) for column, by_method in table.items()}
    return ["method", *(title(column) + f" ({count(n)})" * (n < most) for column, n in numbers.items())]


def quality_table(table: Table, field: str, methods: Sequence[str]) -> str:
    """Return means and deviations over seeds: the best bold, those within its deviation with a dagger."""
    columns = {
        column: {
            method: mean_std([getattr(result, field) for result in by_method[method]])
            for method in methods
            if method in by_method
        }
        for column, by_method in table.items()
    }
    rows = []
    for method in methods:
        cells = [quality_cell(method, values, table[column]) for column, values in columns.items()]
        if any(text != "-" for text in cells):
            rows.append([method, *cells])
    return markdown(table_head(table), rows)


def quality_cell(method: str, values: dict[str, tuple[float, float]], by_method: dict[str, list[Run]]) -> str:
    if method not in values:
        return "-"
    mean, deviation = values[method]
    if math.isnan(mean):
        return "failed"
    text = short(mean) if math.isnan(deviation) else f"{short(mean)} ± {short(deviation)}"
    best, best_deviation = max((value for value in values.values() if not math.isnan(value[0])), key=lambda one: one[0])
    if short(mean) == short(best):
        text = f"**{text}**"
    elif best - mean <= best_deviation:
        text += " †"
    n_there = sum(not result.note for result in by_method[method])
    return text + f" ({count(n_there)})" * (n_there < n_seeds(by_method))


def compared(table: Table, methods: Sequence[str]) -> Table:
    """Return the columns that have at least two of the methods."""
    return {column: by_method for column, by_method in table.items() if len(by_method.keys() & set(methods)) > 1}


def median(values: Iterable[float]) -> float:
    there = [value for value in values if not math.isnan(value)]
    return statistics.median(there) if there else math.nan


def time_table(table: Table) -> str:
    """Return median seconds of training, and how many times those of csq they are."""
    rows = []
    for method in COMPARED:
        cells = []
        for by_method in table.values():
            seconds, base = (median(result.train_s for result in by_method.get(name, [])) for name in (method, "csq"))
            cells.append("-" if math.isnan(seconds) else f"{seconds:.1f}{ratio(seconds, base)}")
        if any(text != "-" for text in cells):
            rows.append([method, *cells])
    return markdown(table_head(table), rows)


def ratio(seconds: float, base: float) -> str:
    return "" if math.isnan(base) else f" ({seconds / base:.2f})"


def target_table(by_method: dict[str, list[Run]]) -> str:
    """Return mean seconds to the target, the times of csq, and how many seeds got there."""
    base = mean_std([result.seconds_to_target for result in by_method.get("csq", [])])[0]
    means = {name: mean_std([result.seconds_to_target for result in found]) for name, found in by_method.items()}
    rows = []
    for method, (mean, deviation) in sorted(means.items(), key=lambda one: (math.isnan(one[1][0]), one[1][0])):
        found = [result for result in by_method[method] if not result.note]
        if method in FROZEN or not found:
            continue
        reached = sum(not math.isnan(result.seconds_to_target) for result in found)
        seconds = "never" if math.isnan(mean) else f"{mean:.1f}"
        spread = "" if math.isnan(deviation) else f" ± {deviation:.1f}"
        times = "-" if math.isnan(base) or math.isnan(mean) else f"{mean / base:.2f}"
        rows.append([method, seconds + spread, times, f"{reached} of {len(found)}"])
    return markdown(["method", "seconds", "times csq", "seeds that reach it"], rows)


def budget(task: Task, bits: Sequence[int], scale: float) -> str:
    epochs = [f"{count(make_job(task, k, 'csq', 0, scale).epochs, 'epoch')} at {k} bits" for k in bits]
    return (
        f"* {task.name}: {task.n_train:,} training pictures, {task.n_database:,} in the database, "
        f"{task.n_queries:,} queries, {', '.join(epochs)}.\n"
    )


def report_text(table: Table, tasks: Sequence[Task], scale: float) -> str:
    bits = {task.name: [n_bits for name, n_bits in table if name == task.name] for task in tasks}
    parts = [
        "# Methods on the same network\n",
        f"Mean ± standard deviation over {count(max(map(n_seeds, table.values())))}; what has fewer says so. "
        "Bold is the best of a column, to three places; † is within one standard deviation, the best's, of it. "
        "mAP is expected over the orders of ties and divides by min(k, relevant items).\n",
        "".join(budget(task, bits[task.name], scale) for task in tasks if bits[task.name]),
    ]
    for heading, field in (
        ("mAP of all items (Table 2)", "map_all"),
        ("mAP of the first 1,000", "map_1k"),
        ("Precision within Hamming radius 2 (Fig. 3; an empty ball counts 0)", "precision_h2"),
    ):
        parts += [f"## {heading}\n", quality_table(table, field, COMPARED)]
    parts += [
        "## Seconds of training, one thread (times those of csq; Table 4)\n",
        f"Medians. {', '.join(FROZEN)} train on features whose own time does not count.\n",
        time_table(table),
    ]
    if TIMED in table:
        parts += [f"## Seconds of training to mAP {TARGET_MAP}, {title(TIMED)}\n", target_table(table[TIMED])]
    for heading, words, methods in (
        (
            "Terms of the loss, mAP of all items (Table 6)",
            "csq is L_C + L_Q, csq-no-lq L_C alone, lp+lq L_P + L_Q, lc+lp+lq L_C + 0.2 L_P + L_Q.\n",
            ("csq", *FAMILIES["terms of CSQ"]),
        ),
        (
            "What ours is made of, mAP of all items",
            "ours-auto has centers that are not placed; csq-semantic has those of ours and the central term alone.\n",
            ("ours", *FAMILIES["terms of ours"]),
        ),
        (
            "Fixed and learned centers under central similarity, mAP of all items (Table 7)",
            "Learned centers take half of the steps to learn.\n",
            ("csq", "csq-paper", *FAMILIES["learned centers"]),
        ),
    ):
        columns = compared(table, methods)
        if columns:
            parts += [f"## {heading}\n", words, quality_table(columns, "map_all", methods)]
    notes = Counter(
        f"{title(column)}, {method}: {result.note}"
        for column, by_method in table.items()
        for method, found in by_method.items()
        for result in found
        if result.note
    )
    if notes:
        parts += ["## Failed runs\n", "".join(f"* {note} ({count(n)})\n" for note, n in notes.items())]
    return "\n".join(parts)


def color(method: str) -> str:
    return OURS_COLOR if method == "ours" else next(COLORS[name] for name, kin in FAMILIES.items() if method in kin)


def draw_quality(by_method: dict[str, list[Run]], ax: Axes) -> None:
    """Draw mean and deviation of mAP for every method, the best on top."""
    points = {name: mean_std([result.map_all for result in found]) for name, found in by_method.items()}
    order = sorted((name for name in points if not math.isnan(points[name][0])), key=lambda name: points[name][0])
    for height, name in enumerate(order):
        mean, deviation = points[name]
        ax.errorbar(mean, height, xerr=deviation, fmt="o", color=color(name), ms=4.5, capsize=2, lw=1.2)
        ax.annotate(
            short(mean), (1, height), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="center", fontsize=6.5, color="0.35",
        )  # fmt: skip
    ax.set_yticks(range(len(order)), order, fontsize=7)
    for label in ax.get_yticklabels():
        if label.get_text() == "ours":
            label.set(color=OURS_COLOR, fontweight="bold")
    ax.set_ylim(-0.7, len(order) - 0.3)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=7)
    ax.grid(axis="both", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)


def quality_picture(table: Table, file: Path) -> None:
    names, bits = list(dict.fromkeys(name for name, _ in table)), sorted({n_bits for _, n_bits in table}, reverse=True)
    # A row a code length, as high as its methods need beside a title and ticks.
    heights = [4 + max(len(found) for (_, k), found in table.items() if k == n_bits) for n_bits in bits]
    figure, axes = plt.subplots(
        len(bits), len(names), figsize=(3.4 * len(names), 0.165 * sum(heights) + 0.7), squeeze=False,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for (n_bits, name), ax in zip(itertools.product(bits, names), axes.flat, strict=True):
        if (name, n_bits) in table:
            draw_quality(table[name, n_bits], ax)
            ax.set_title(title((name, n_bits)), fontsize=9, loc="left")
        else:
            ax.remove()
    there = set().union(*table.values())
    kinds = {kin: COLORS[kin] for kin, methods in FAMILIES.items() if there & set(methods) - {"ours"}}
    if "ours" in there:
        kinds["ours"] = OURS_COLOR
    marks = [Line2D([], [], marker="o", ls="", ms=5, color=shade, label=kin) for kin, shade in kinds.items()]
    figure.supxlabel("mAP of all items, mean ± standard deviation over seeds", fontsize=8)
    figure.legend(
        handles=marks, loc="outside upper center", ncols=(2, 4, len(marks))[len(names) - 1], frameon=False, fontsize=8
    )
    figure.savefig(file, dpi=150)
    plt.close(figure)


CURVES = {
    "csq": "#3f90da",
    "ours": OURS_COLOR,
    "orthohash": "#832db6",
    "hashnet": "#ffa90e",
    "dch": "#717581",
    "dhn": "#a96b59",
}


def draw_curves(by_method: dict[str, list[Run]], ax: Axes) -> None:
    """Draw the estimated mAP against the seconds of training, a line a seed."""
    ends: dict[str, list[float]] = {}
    for method, shade in CURVES.items():
        for result in by_method.get(method, []):
            points = [[float(number) for number in point.split(":")] for point in result.curve.split(";") if point]
            if points:
                seconds, values = zip(*points, strict=True)
                ax.plot(seconds, values, color=shade, lw=1.1, alpha=0.85, marker=".", ms=3)
                ends.setdefault(method, []).append(values[-1])
    ax.axhline(TARGET_MAP, color="0.6", lw=0.8, ls=":")
    ax.annotate(
        f"{TARGET_MAP}", (1, TARGET_MAP), xycoords=("axes fraction", "data"), xytext=(-2, 2),
        textcoords="offset points", ha="right", fontsize=7, color="0.4",
    )  # fmt: skip
    marks = [
        Line2D([], [], color=CURVES[name], label=f"{name}, {short(statistics.fmean(ends[name]))}")
        for name in sorted(ends, key=lambda name: -statistics.fmean(ends[name]))
    ]
    ax.legend(handles=marks, title="at the end", frameon=False, fontsize=8, title_fontsize=8, loc="center left",
              bbox_to_anchor=(1, 0.5))  # fmt: skip
    ax.set(xlabel="seconds of training, one thread", ylabel="mAP of all items (estimate)", xlim=(0, None))
    ax.set_ylim(bottom=0)
    ax.grid(color="0.92", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)


def curve_picture(by_method: dict[str, list[Run]], file: Path) -> None:
    figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    draw_curves(by_method, ax)
    ax.set_title(f"{title(TIMED)}, a line a seed", fontsize=9, loc="left")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def write_report(out: Path, tasks: Sequence[Task], scale: float) -> None:
    table = tabulate(read_runs(out / "runs.csv"), tasks, scale)
    if not table:
        sys.exit(f"{out / 'runs.csv'} has no runs of these settings")
    (out / "methods.md").write_text(report_text(table, tasks, scale))
    kept = {column: {name: found[name] for name in found if name in COMPARED} for column, found in table.items()}
    quality_picture({column: found for column, found in kept.items() if found}, out / "methods_map.png")
    written = "methods.md, methods_map.png"
    if any(result.curve for found in table.get(TIMED, {}).values() for result in found):
        curve_picture(table[TIMED], out / "methods_time.png")
        written += ", methods_time.png"
    print(f"In {out}/ are runs.csv, {written}")


def make_job(task: Task, n_bits: int, method: str, seed: int, scale: float) -> Job:
    epochs = max(1, round(task.epochs.get(n_bits, max(task.epochs.values())) * scale))
    return Job(task.name, n_bits, method, seed, epochs, task.n_train, task.n_database, task.n_queries)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train every method on the same network, and compare.")
    names = [task.name for task in TASKS]
    large = [task.name for task in LARGE_TASKS]
    parser.add_argument("command", nargs="?", default="run", choices=["run", "report"], help="report trains nothing")
    parser.add_argument("--root", default=DEBIAN_FOLDER, type=Path, help="Fashion-MNIST's files (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=names, choices=[*names, *large], help="default: the first three")
    parser.add_argument("--bits", nargs="+", type=int, default=[64, 16], help="code lengths (default: 64 16)")
    parser.add_argument("--methods", nargs="+", default=ALL_METHODS, choices=ALL_METHODS, help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind (default: %(default)s)")
    parser.add_argument("--epochs-scale", type=float, default=1.0, help="times the epochs (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="few pictures and one or two epochs: does it run?")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/methods"), help="where to write (default: %(default)s)")
    args = parser.parse_args(argv)
    # 100 classes need 7 bits.
    for name, value, minimum in (
        ("bits", min(args.bits), 7),
        ("seeds", args.seeds, 1),
        ("workers", args.workers, 1),
    ):
        if value < minimum:
            parser.error(f"--{name} must be at least {minimum}, got {value}")
    if not 0 < args.epochs_scale < math.inf:
        parser.error(f"--epochs-scale must be above 0, got {args.epochs_scale}")

    tasks = SMALL_TASKS if args.small else (*TASKS, *LARGE_TASKS)
    if args.command == "run":
        jobs = [
            make_job(task, n_bits, method, seed, args.epochs_scale)
            for seed in range(args.seeds)
            for task in tasks
            if task.name in args.tasks
            for n_bits in args.bits
            for method in args.methods
            if method != "ours-no-pairs" or task.name == "multilabel"  # class ids have no pairs
        ]
        try:
            for job in {job.task: job for job in jobs}.values():
                list(splits(args.root, job))
        except (FileNotFoundError, ValueError) as error:
            sys.exit(str(error))
        run_all(args.root, args.out, jobs, args.workers)
    write_report(args.out, tasks, args.epochs_scale)


if __name__ == "__main__":
    main()
