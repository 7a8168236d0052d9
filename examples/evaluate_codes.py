"""Score stored codes, whoever made them: all metrics, curves, and how much the order of ties could move them.

    python examples/evaluate_codes.py codes.npz --top-k 100
    python examples/evaluate_codes.py database_hash.npy database_label.npy test_hash.npy test_label.npy --top-k 100

One npz file holds database, database_labels, query and query_labels, as the training scripts write it; or four npy
files have them in this order. Codes are packed (uint8, 8 bits a byte, numpy's order; with --bits where that is no
multiple of 8), or real values, of which a value >= 0 is bit 1. Labels are class ids (n,), or 0/1 for each class
(n, n_classes).
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from hashcenters import HammingRetrievalEvaluator, plots
from hashcenters.training.command_line import stopping

PARTS = ("database", "database_labels", "query", "query_labels")


def read(files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Return the four arrays of one npz file or four npy files; nothing in them is executed."""
    if len(files) == len(PARTS):
        return {part: np.load(file, allow_pickle=False) for part, file in zip(PARTS, files, strict=True)}
    if len(files) != 1 or files[0].suffix != ".npz":
        raise ValueError(f"FILES must be one .npz or four .npy ({', '.join(PARTS)}), got {len(files)}")
    with np.load(files[0], allow_pickle=False) as archive:
        missing = [part for part in PARTS if part not in archive]
        if missing:
            raise ValueError(f"{files[0]} must hold {', '.join(PARTS)}; it has no {', '.join(missing)}")
        return {name: archive[name] for name in (*PARTS, "n_bits") if name in archive}


def code_length(arrays: Mapping[str, NDArray[Any]], bits: int | None) -> int:
    """Return the number of bits: what is asked for, what the file says, or what the arrays can hold."""
    if bits is not None:
        return bits
    if "n_bits" in arrays:
        return int(arrays["n_bits"])
    width: int = arrays["database"].shape[1]
    return width * 8 if arrays["database"].dtype == np.uint8 else width


def bits_or_values(codes: NDArray[Any], name: str, *, packed: bool) -> NDArray[Any]:
    """Return codes as the evaluator takes them: 0/1 and ±1 in whole numbers become bits."""
    if not np.issubdtype(codes.dtype, np.integer) or codes.size == 0:
        return codes
    if codes.dtype != np.uint8 and codes.min() >= -1 and codes.max() <= 1:
        return codes > 0
    if codes.dtype != np.uint8:
        raise ValueError(f"{name} must be packed uint8, real values, 0/1 or ±1, got {codes.dtype} beyond ±1")
    if not packed and codes.max() <= 1:
        raise ValueError(
            f"{name} holds 0 and 1 alone in uint8: if a byte is a bit, save it as bool; if 8 bits are packed into it, "
            "pass --bits"
        )
    return codes


def class_ids(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels in whole numbers: some files have them as floats."""
    whole = labels.astype(np.int64)
    if not np.array_equal(whole, labels):
        raise ValueError("labels must be whole numbers: class ids, or 0 and 1 for each class")
    return whole[:, 0] if whole.ndim == 2 and whole.shape[1] == 1 else whole


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Score stored codes by Hamming ranking.")
    parser.add_argument("files", type=Path, nargs="+", help="one npz, or four npy: " + ", ".join(PARTS))
    parser.add_argument("--bits", type=int, help="code length (default: what the file says, or the width of the codes)")
    parser.add_argument("--top-k", type=int, help="items that mAP looks at (default: all)")
    parser.add_argument(
        "--denominator",
        choices=("retrieved", "relevant", "min"),
        default="retrieved",
        help="what AP divides by: relevant items retrieved (the paper), all relevant ones, or at most top-k of them",
    )
    parser.add_argument("--out", type=Path, help="folder for metrics.json and curves.png (default: none are written)")
    args = parser.parse_args(argv)
    with stopping(parser):
        arrays = read(args.files)
        known = args.bits is not None or "n_bits" in arrays
        arrays |= {part: bits_or_values(arrays[part], part, packed=known) for part in ("database", "query")}
        evaluator = HammingRetrievalEvaluator(
            code_length(arrays, args.bits), top_k=args.top_k, ap_denominator=args.denominator
        )
        evaluator.add_database(arrays["database"], class_ids(arrays["database_labels"]))
        evaluator.add_queries(arrays["query"], class_ids(arrays["query_labels"]))
        result = evaluator.compute()
        print(result)
        low, high = result.map_interval()
        print(f"  95 % of bootstrapped sets of queries have an mAP of {low:.4f} to {high:.4f}")
        if args.out is None:
            return
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "metrics.json").write_text(json.dumps(result.as_dict() | {"map": result.map}, indent=1) + "\n")
        _, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
        plots.precision_recall_curve(result, axes[0])
        plots.precision_at_n(result, axes[1])
        plots.precision_within_radius(result, axes[2])
        plt.savefig(args.out / "curves.png", dpi=150)
        plt.close("all")


if __name__ == "__main__":
    main()
