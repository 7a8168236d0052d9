"""What does a training step cost, and how much of it is the loss? Everything side by side, in one thread.

    python benchmarks/training.py            # some minutes
    python benchmarks/training.py --quick    # a few seconds, small; its times mean nothing and nothing is judged

Prints tables and writes a CSV file. The exit status is 1 if a bound that we ask for is broken.

* Contestants of a table run in turn, round by round. "median" is that of the rounds; a ratio is the median of the
  rounds' ratios, so what slows down a whole round does not count.
* loss: forward and backward of the loss alone, logits (256, 64) in float32, 100 classes; class indices in int64, or
  multi-hot rows in uint8, 1 to 4 classes each. The reference is torch's binary cross-entropy with logits of 2z and
  targets that are ready: it is the same number as central similarity's first term.
* step: forward, loss, backward and SGD of ResNet-18, 64 images of 64 x 64. Every loss has a linear layer of 64 bits;
  the reference is cross-entropy on a linear layer of 100 classes. "share" is the loss alone on such a batch, over the
  step.
* loading: JPEG files of 500 x 375 decoded and transformed as CSQ's code does, to the size of the step; "share" is what
  of the time they take where the step and the loading have one core together.
* encode: ``Hasher.encode`` of batches in memory to packed codes, and the bare backbone on the same batches.
* epoch: one epoch of a small network, batches of 128, by ``hashcenters.training.fit``. The paper's Table 4 has minutes
  until training is done, here are equal numbers of steps; the time to reach an mAP is in docs/methods.md.
"""

import argparse
import csv
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hashcenters import CentralSimilarityLoss, HashCenterGenerator, HashHead
from hashcenters import losses as L
from hashcenters.models import Hasher

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
OURS = "CentralSimilarityLoss"


class Size(NamedTuple):
    """How much is measured."""

    rounds: int = 15
    step_rounds: int = 7
    batch: int = 256
    n_bits: int = 64
    n_classes: int = 100
    step_batch: int = 64
    side: int = 64
    n_files: int = 64
    encode_batches: int = 6
    epoch_images: int = 2560
    least_seconds: float = 0.004  # of calls that are timed together


QUICK = Size(2, 1, 32, 16, 10, 4, 32, 4, 2, 128, 0.0)


class Row(NamedTuple):
    """A row of the CSV. None is an empty field."""

    table: str
    contestant: str
    labels: str
    rounds: int
    median_seconds: float
    best_seconds: float
    ratio: float | None  # to the reference of the table
    share: float | None
    bound: float | None  # on the ratio, or on the share where there is one
    holds: bool | None


# --- timing


def timed(call: Callable[[], object], least_seconds: float) -> float:
    """Return the seconds of a call, of as many as it takes to see them."""
    n_calls, started = 0, perf_counter()
    while True:
        call()
        n_calls += 1
        seconds = perf_counter() - started
        if seconds >= least_seconds:
            return seconds / n_calls


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int, least_seconds: float) -> dict[str, list[float]]:
    """Time everyone in every round; each has a first call that does not count."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call, least_seconds))
    return times


def rows_of(
    table: str, labels: str, times: Mapping[str, list[float]], reference: str, bounds: Mapping[str, float] | None = None
) -> list[Row]:
    """Return a row for everyone, with ratios to the reference."""
    rows = []
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, times[reference], strict=True))
        bound = (bounds or {}).get(name)
        holds = None if bound is None else ratio <= bound
        rows.append(
            Row(table, name, labels, len(seconds), statistics.median(seconds), min(seconds), ratio, None, bound, holds)
        )
    return rows


# --- the contestants


def all_losses(n_classes: int, n_bits: int) -> dict[str, nn.Module]:
    """Return every loss that is called with logits and labels, ours first."""
    centers = HashCenterGenerator(n_bits)(n_classes)
    made: list[nn.Module] = [
        CentralSimilarityLoss(centers),
        *(L.CenterContrastLoss(centers), L.DPNLoss(centers), L.OrthoHashLoss(centers), L.MDSLoss(centers)),
        L.GreedyHashLoss(n_classes, n_bits),
        *(kind(n_classes, n_bits) for kind in (L.FaceCenterLoss, L.MagnetCenterLoss, L.RepMetCenterLoss)),
        *(L.PairwiseSimilarityLoss(), L.DHNLoss(), L.HashNetLoss(), L.DCHLoss(), L.DPSHLoss(), L.DNNHLoss()),
        *(L.DHLoss(), L.DVHLoss(), L.DLSTMLoss()),
    ]
    return {type(loss).__name__: loss for loss in made}


def random_labels(n: int, n_classes: int, *, multi_hot: bool) -> Tensor:
    """Return class indices, or rows of 1 to 4 classes."""
    generator = torch.Generator().manual_seed(1)
    if not multi_hot:
        return torch.randint(n_classes, (n,), generator=generator)
    picks = torch.randint(n_classes, (n, 4), generator=generator)
    picks[:, 1] = torch.where(picks[:, 1] % 2 == 0, picks[:, 0], picks[:, 1])  # fewer in half of the rows
    return torch.zeros(n, n_classes, dtype=torch.uint8).scatter_(1, picks, 1)


def forward_backward(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Callable[[], None]:
    leaf = logits.detach().clone().requires_grad_()

    def call() -> None:
        leaf.grad = None
        loss(leaf).backward()  # type: ignore[no-untyped-call]

    return call


def measure_losses(size: Size) -> list[Row]:
    rows = []
    logits = torch.randn(size.batch, size.n_bits, generator=torch.Generator().manual_seed(0))
    bits = (torch.randn(size.batch, size.n_bits, generator=torch.Generator().manual_seed(2)) > 0).float()
    for multi_hot, bound in ((False, 2.5), (True, 4.0)):
        labels = random_labels(size.batch, size.n_classes, multi_hot=multi_hot)
        reference = "binary cross-entropy"
        calls = {reference: forward_backward(lambda z: F.binary_cross_entropy_with_logits(2 * z, bits), logits)}
        for name, loss in all_losses(size.n_classes, size.n_bits).items():
            calls[name] = forward_backward(lambda z, loss=loss, labels=labels: loss(z, labels), logits)  # type: ignore[misc]
        times = in_turn(calls, size.rounds, size.least_seconds)
        rows += rows_of("loss", "multi-hot" if multi_hot else "ids", times, reference, {OURS: bound})
    return rows


def resnet18() -> nn.Module:
    import timm

    network: nn.Module = timm.create_model("resnet18", num_classes=0)
    return network


def stepper(
    backbone: nn.Module, head: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor
) -> Callable[[], None]:
    """Return a step of SGD on a backbone, a head, and what the loss learns."""
    network = nn.Sequential(backbone, head)
    optimizer = torch.optim.SGD([*network.parameters(), *loss.parameters()], lr=1e-4, momentum=0.9)

    def call() -> None:
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()

    return call


def measure_steps(size: Size) -> list[Row]:
    images = torch.randn(size.step_batch, 3, size.side, size.side, generator=torch.Generator().manual_seed(0))
    labels = random_labels(size.step_batch, size.n_classes, multi_hot=False)
    backbone, reference = resnet18(), "cross-entropy"
    head: nn.Module = nn.Linear(512, size.n_classes)
    calls = {reference: stepper(backbone, head, nn.CrossEntropyLoss(), images, labels)}
    alone = {}
    logits = torch.randn(size.step_batch, size.n_bits, generator=torch.Generator().manual_seed(0))
    for name, loss in all_losses(size.n_classes, size.n_bits).items():
        calls[name] = stepper(backbone, nn.Linear(512, size.n_bits), loss, images, labels)
        alone[name] = forward_backward(lambda z, loss=loss: loss(z, labels), logits)  # type: ignore[misc]
    times = in_turn(calls, size.step_rounds, 0)
    seconds = {name: statistics.median(some) for name, some in in_turn(alone, size.rounds, size.least_seconds).items()}
    rows = []
    for row in rows_of("step", "ids", times, reference):
        if row.contestant in seconds:
            row = row._replace(share=seconds[row.contestant] / row.median_seconds)
        if row.contestant == OURS and row.share is not None:
            row = row._replace(bound=0.01, holds=row.share <= 0.01)
        rows.append(row)
    return rows


@contextmanager
def jpeg_files(n_files: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write photographs of nothing: smooth noise, which compresses about as photographs do."""
    from PIL import Image

    stream = np.random.Philox(0)
    with tempfile.TemporaryDirectory() as folder:
        names = tuple(f"{number}.jpg" for number in range(n_files))
        for name in names:
            pixels = (stream.random_raw(75 * 100 * 3) % 256).astype(np.uint8).reshape(75, 100, 3)
            image = Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC)
            image.save(Path(folder) / name, quality=90)
        yield Path(folder), names


def measure_loading(size: Size, step_seconds: float) -> list[Row]:
    """Time an image's loading against its part of a training step."""
    from hashcenters.data.images import ImageDataset, ItemList, csq_transform, open_image

    with jpeg_files(size.n_files) as (folder, names):
        images = ItemList(folder, names, torch.zeros(len(names), dtype=torch.int64), ("nothing",))
        calls: dict[str, Callable[[], object]] = {
            "decoding": lambda: [open_image(folder / name) for name in names],
        }
        for side in dict.fromkeys((size.side, 224)):
            dataset = ImageDataset(images, csq_transform(True, size=side), seed=0)
            calls[f"decoding and transform to {side}"] = lambda dataset=dataset: [  # type: ignore[misc]
                dataset[0, row] for row in range(len(names))
            ]
        times = in_turn(calls, max(2, size.step_rounds // 2), 0)
    per_image = {name: [second / len(names) for second in seconds] for name, seconds in times.items()}
    per_image["the step"] = [step_seconds] * len(per_image["decoding"])
    rows = rows_of("loading", "", per_image, "the step")
    return [
        row._replace(share=row.median_seconds / (row.median_seconds + step_seconds))
        if row.contestant.endswith(f" {size.side}")
        else row
        for row in rows
    ]


def measure_encoding(size: Size) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(size.step_batch, dtype=torch.int64)
    shape = (size.step_batch, 3, size.side, size.side)
    batches = [(torch.randn(shape, generator=generator), labels) for _ in range(size.encode_batches)]
    backbone = resnet18().eval()
    hasher = Hasher(backbone, HashHead(512, size.n_bits))

    def bare() -> None:
        with torch.no_grad():
            for images, _ in batches:
                backbone(images)

    reference = "the bare backbone"
    calls = {reference: bare, "encode": lambda: hasher.encode(batches, packed=True, progress=False)}
    times = in_turn(calls, size.step_rounds, 0)
    return rows_of("encode", "", times, reference, {"encode": 1 / 0.95})


def measure_epochs(size: Size) -> list[Row]:
    """Time an epoch of a small network under CSQ, HashNet and DHN."""
    from accelerate import Accelerator

    from hashcenters.training import TensorBatches, fit

    images = torch.randn(size.epoch_images, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = random_labels(size.epoch_images, size.n_classes, multi_hot=False)
    accelerator = Accelerator(cpu=True)
    every = all_losses(size.n_classes, size.n_bits)

    def epoch(loss: nn.Module) -> Callable[[], object]:
        network = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 25, 256), nn.ReLU(), nn.Linear(256, size.n_bits)),
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
        loader = TensorBatches(images, labels, batch_size=128, seed=0)
        return lambda: fit(network, loss, loader, optimizer=optimizer, n_epochs=1, accelerator=accelerator)

    calls = {name: epoch(every[name]) for name in (OURS, "HashNetLoss", "DHNLoss")}
    return rows_of("epoch", "ids", in_turn(calls, max(2, size.step_rounds // 2), 0), OURS)


# --- what becomes of it


TITLES = {
    "loss": "The loss alone, forward and backward; ratio to binary cross-entropy with logits",
    "step": "A training step of ResNet-18; ratio to cross-entropy, share of the loss alone",
    "loading": "Loading an image; ratio to its part of the step",
    "encode": "Encoding; ratio to the bare backbone",
    "epoch": "An epoch of a small network; ratio to CSQ (Table 4, whole trainings: HashNet 5.3 to 7.1, DHN 2.6 to 4.2)",
}


def claims(rows: Sequence[Row]) -> list[str]:
    """Return in words what was asked for, and whether it holds."""
    said = []
    for row in rows:
        if row.bound is None:
            continue
        found = row.share if row.share is not None else row.ratio
        if row.table == "loss":
            text = (
                f"{row.contestant} ({row.labels}) takes {found:.2f} times binary cross-entropy, at most {row.bound:g}"
            )
        elif row.table == "step":
            text = f"{row.contestant} is {100 * (found or 0):.2f} % of a step, at most {100 * row.bound:g} %"
        else:
            text = f"encoding runs at {100 / (found or 1):.1f} % of the bare backbone, at least {100 / row.bound:.0f} %"
        said.append(f"{'holds' if row.holds else 'BROKEN'}: {text} asked")
    return said


def shown(seconds: float) -> str:
    return (
        f"{seconds:.2f} s"
        if seconds >= 1
        else f"{1e3 * seconds:.2f} ms"
        if seconds >= 1e-3
        else f"{1e6 * seconds:.0f} µs"
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print Markdown tables, one for each part and kind of labels."""
    for table, labels in dict.fromkeys((row.table, row.labels) for row in rows):
        print(f"\n## {TITLES[table]}{f' ({labels})' if table == 'loss' else ''}\n")
        print("| contestant | median | best | ratio | share |\n| --- | ---: | ---: | ---: | ---: |")
        for row in rows:
            if (row.table, row.labels) == (table, labels):
                ratio = (
                    ""
                    if row.ratio is None
                    else f"{row.ratio:.3f}"
                    if table in ("step", "encode")
                    else f"{row.ratio:.2f}"
                )
                share = "" if row.share is None else f"{100 * row.share:.2f} %"
                print(
                    f"| {row.contestant} | {shown(row.median_seconds)} | {shown(row.best_seconds)} "
                    f"| {ratio} | {share} |"
                )


def measure(size: Size, only: Sequence[str]) -> list[Row]:
    """Measure the parts asked for."""
    rows: list[Row] = []
    if "loss" in only:
        rows += measure_losses(size)
    if "step" in only or "loading" in only:
        steps = measure_steps(size)
        rows += steps if "step" in only else []
    if "loading" in only:
        if importlib.util.find_spec("torchvision") is None or importlib.util.find_spec("PIL") is None:
            print('\nloading is left out: pip install "hashcenters[images]"')
        else:
            ours = next(row for row in steps if row.contestant == OURS)
            rows += measure_loading(size, ours.median_seconds / size.step_batch)
    if "encode" in only:
        rows += measure_encoding(size)
    if "epoch" in only:
        rows += measure_epochs(size)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a training step costs, and what of it is the loss.")
    parser.add_argument("--only", nargs="+", choices=[*TITLES], default=[*TITLES], help="these parts")
    parser.add_argument("--rounds", type=int, help="times that everyone runs (default: 15, of whole steps 7)")
    parser.add_argument("--out", type=Path, default=ASSETS / "training.csv", help="the CSV file (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small and short; its times mean nothing")
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {args.rounds}")
    size = QUICK if args.quick else Size()
    if args.rounds is not None:
        size = size._replace(rounds=args.rounds, step_rounds=args.rounds)
    print(__doc__.split("\n\n")[-1].strip() if __doc__ else "")
    torch.set_num_threads(1)
    torch.manual_seed(0)  # weights, whose values no time depends on
    rows = measure(size, args.only)
    print_rows(rows)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows([f"{field:.3g}" if isinstance(field, float) else field for field in row] for row in rows)
    print(f"\nIn {args.out}.")
    if args.quick:
        return 0
    print("\n".join(claims(rows)))
    return int(any(row.holds is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
