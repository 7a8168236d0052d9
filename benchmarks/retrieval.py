"""How long does an exact evaluation take, and how much memory? Ours beside what the field uses, on the same cores.

    python benchmarks/retrieval.py              # side by side; about four minutes
    python benchmarks/retrieval.py --scaling    # and how ours grows: to 10 million items; about three minutes more
    python benchmarks/retrieval.py --quick      # a small setting, some seconds; its times mean nothing

Prints tables and writes a CSV file. The exit status is 1 if a rival's mAP lies outside what the order of ties allows.

* The setting: 5,000 queries, 128,495 items, 64 bits, mAP of the first 1,000. Codes are ±1 in float32, centers with 12 %
  of the bits flipped, labels class ids (100) or multi-hot rows in float32 (80 classes, 1 to 3 of them in a row).
* Everyone runs in a process of its own, in turn, round by round. "best" and "median" are those of the rounds. The clock
  runs from codes and labels in memory to the metrics, packing included. Before it starts, a tiny evaluation of the same
  kind loads what is loaded or compiled when first used; "first call" is that evaluation with the imports it needs
  (torch is there already).
* "memory" is the peak of the process beyond `import torch`, median of the rounds: the inputs, libraries and compiled
  code are included.
* "ours" gives all metrics, expected, best and worst over ties. The others give mAP for the one order that they find.
* "faiss + numpy" is IndexBinaryFlat.search and average precision over many queries at once. "argsort of a matrix" and
  "argsort by query" do what the code of CSQ and of DeepHash-pytorch does. These two, and torchmetrics, run on the first
  queries only ("timed"); seconds are multiplied up to all, memory is not: the matrix takes 16 bytes a query and item.
  `--only "argsort of a matrix" --timed 5000 --rounds 1` runs it on all, and needs 11 GB.
* Scaling: packed codes and labels (class ids, or multi-hot rows in bool) come in chunks, which are made while the clock
  stands still. 1 ps is 1e-12 s.
"""

import argparse
import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
CHUNK = 1 << 14  # rows that are made at a time
NOISE = 31  # of 256: the share of flipped bits
TOLERANCE = 1e-5  # torchmetrics computes in float32

Array: TypeAlias = npt.NDArray[Any]


class Setting(NamedTuple):
    """What is evaluated."""

    n_queries: int = 5000
    n_items: int = 128_495
    n_bits: int = 64
    n_classes: int = 100
    multi_hot: bool = False
    top_k: int = 1000

    @property
    def labels(self) -> str:
        """What the labels are, in short."""
        return f"{self.n_classes} {'multi-hot' if self.multi_hot else 'ids'}"


class Data(NamedTuple):
    """Codes and labels of a setting, in memory."""

    queries: Array
    database: Array
    query_labels: Array
    database_labels: Array


class Row(NamedTuple):
    """A row of the CSV. None is an empty field."""

    table: str
    contestant: str
    n_queries: int
    n_items: int
    n_bits: int
    n_classes: int
    multi_hot: bool
    top_k: int
    queries_timed: int
    rounds: int
    best_seconds: float  # for all queries
    median_seconds: float
    cpu_seconds: float
    times_ours: float | None  # best_seconds over ours
    memory_mib: float | None
    first_call_seconds: float
    map: float
    map_worst: float | None  # what the order of ties can do to the queries timed
    map_best: float | None

    @property
    def agrees(self) -> bool:
        """Whether mAP lies within what the order of ties can do."""
        if self.map_worst is None or self.map_best is None:
            return True
        return self.map_worst - TOLERANCE <= self.map <= self.map_best + TOLERANCE


QUICK = Setting(n_queries=300, n_items=4000, top_k=100)


# --- the data


def chunks(setting: Setting, n_rows: int, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield bits (bool) and labels, a chunk of rows at a time, the same on every platform."""
    n_bits, n_classes = setting.n_bits, setting.n_classes
    centers = raw_bytes(np.random.Philox(0), n_classes * n_bits).reshape(n_classes, n_bits) < 128
    stream = np.random.Philox(seed)
    for start in range(0, n_rows, CHUNK):
        n = min(CHUNK, n_rows - start)
        picks = (stream.random_raw((n, 3)) % n_classes).astype(np.int64)
        if setting.multi_hot:
            labels: Array = np.zeros((n, n_classes), np.bool_)
            np.put_along_axis(labels, picks, True, axis=1)
            bits = centers[picks].sum(axis=1) >= 2  # the majority of three centers
        else:
            labels = picks[:, 0]
            bits = centers[labels]
        yield bits ^ (raw_bytes(stream, n * n_bits).reshape(n, n_bits) < NOISE), labels


def raw_bytes(stream: np.random.Philox, n: int) -> npt.NDArray[np.uint8]:
    return stream.random_raw(-(-n // 8)).astype("<u8").view(np.uint8)[:n]


def in_memory(setting: Setting) -> Data:
    """Make codes in float32, and labels as ids or in float32, without large temporaries."""

    def side(n_rows: int, seed: int) -> tuple[Array, Array]:
        codes = np.empty((n_rows, setting.n_bits), np.float32)
        shape = (n_rows, setting.n_classes) if setting.multi_hot else (n_rows,)
        labels = np.empty(shape, np.float32 if setting.multi_hot else np.int64)
        start = 0
        for bits, some in chunks(setting, n_rows, seed):
            rows = slice(start, start + len(bits))
            codes[rows], labels[rows] = bits, some
            start += len(bits)
        codes *= 2
        codes -= 1
        return codes, labels

    (queries, query_labels), (database, database_labels) = side(setting.n_queries, 1), side(setting.n_items, 2)
    return Data(queries, database, query_labels, database_labels)


def one_hot(labels: Array, n_classes: int) -> Array:
    """Return labels as the code of the field takes them."""
    return np.eye(n_classes, dtype=np.float32)[labels] if labels.ndim == 1 else labels


# --- the contestants: from data to (mAP, best, worst), the last two where known


Scores: TypeAlias = tuple[float, float | None, float | None]


def ours(data: Data, top_k: int) -> Scores:
    from hashcenters import HammingRetrievalEvaluator

    evaluator = HammingRetrievalEvaluator(data.queries.shape[1], top_k=top_k)
    evaluator.add_database(data.database, data.database_labels)
    evaluator.add_queries(data.queries, data.query_labels)
    result = evaluator.compute()
    return result.map, result.map_best, result.map_worst


def faiss_and_numpy(data: Data, top_k: int) -> Scores:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexBinaryFlat(data.queries.shape[1])
    index.add(np.packbits(data.database >= 0, axis=1))
    _, ids = index.search(np.packbits(data.queries >= 0, axis=1), top_k)
    shares = sharing(data)
    total, step = 0.0, 250  # queries whose temporaries stay small, which is faster than all at once
    for start in range(0, len(ids), step):
        total += average_precisions(shares(slice(start, start + step), ids[start : start + step])).sum()
    return total / len(ids), None, None


def sharing(data: Data) -> Callable[[slice, Array], Array]:
    """Return what says whether queries share a label with the items found for them."""
    items, queries = data.database_labels, data.query_labels
    if queries.ndim == 1:
        return lambda rows, found: np.equal(items[found], queries[rows, None])
    item_words, query_words = label_words(items), label_words(queries)

    def shares(rows: slice, found: Array) -> Array:
        relevant = np.zeros(found.shape, np.bool_)
        for word, own in zip(item_words, query_words, strict=True):
            relevant |= (word[found] & own[rows, None]) != 0
        return relevant

    return shares


def label_words(multi_hot: Array) -> npt.NDArray[np.uint64]:
    """Return rows of bits as words (n_words, n)."""
    packed = np.packbits(multi_hot > 0, axis=1)
    words = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)
    return np.ascontiguousarray(words.T)


def average_precisions(relevant: Array) -> npt.NDArray[np.float64]:
    """Average precision of ranked relevance (n_queries, k), divided by the relevant items retrieved."""
    hits = np.cumsum(relevant, axis=1)
    precision = hits / np.arange(1, relevant.shape[1] + 1)
    average: npt.NDArray[np.float64] = (precision * relevant).sum(axis=1) / np.maximum(hits[:, -1], 1)
    return average


def argsort_matrix(data: Data, top_k: int) -> Scores:
    similarity = np.dot(data.database, data.queries.T)
    order = np.argsort(-similarity, axis=0)
    values = []
    for query, label in enumerate(data.query_labels):
        first = order[:top_k, query]
        match = (data.database_labels[first] * label).sum(axis=1) > 0
        values.append(float(average_precisions(match[None])[0]))
    return statistics.fmean(values), None, None


def argsort_by_query(data: Data, top_k: int) -> Scores:
    n_bits = data.queries.shape[1]
    total = 0.0
    for code, label in zip(data.queries, data.query_labels, strict=True):
        relevant = (np.dot(label, data.database_labels.T) > 0).astype(np.float32)
        distance = 0.5 * (n_bits - np.dot(code, data.database.T))
        (ranks,) = np.nonzero(relevant[np.argsort(distance)][:top_k])
        if len(ranks):
            total += float(np.mean(np.arange(1, len(ranks) + 1) / (ranks + 1)))
    return total / len(data.queries), None, None


def torchmetrics_map(data: Data, top_k: int) -> Scores:
    from torchmetrics.retrieval import RetrievalMAP

    queries, database = torch.from_numpy(data.queries), torch.from_numpy(data.database)
    query_labels, labels = torch.from_numpy(data.query_labels), torch.from_numpy(data.database_labels)
    closeness = (queries @ database.T).add_(queries.shape[1] + 1)  # above 0, or torchmetrics takes it for no match
    relevant = (query_labels @ labels.T) > 0 if labels.ndim == 2 else query_labels[:, None] == labels
    indexes = torch.arange(len(queries)).repeat_interleave(len(database))
    metric = RetrievalMAP(top_k=top_k)
    metric.update(closeness.flatten(), relevant.flatten(), indexes=indexes)
    return float(metric.compute()), None, None


class Contestant(NamedTuple):
    """Who takes part, and how."""

    evaluate: Callable[[Data, int], Scores]
    needs: str | None = None  # a package that may be absent
    timed: int | None = None  # the first queries only
    one_hot: bool = False  # class ids come as one-hot rows


CONTESTANTS = {
    "ours": Contestant(ours),
    "faiss + numpy": Contestant(faiss_and_numpy, needs="faiss"),
    "argsort of a matrix": Contestant(argsort_matrix, timed=200, one_hot=True),
    "argsort by query": Contestant(argsort_by_query, timed=200, one_hot=True),
    "torchmetrics": Contestant(torchmetrics_map, needs="torchmetrics", timed=50),
}


# --- in the contestant's process


def memory(field: str) -> int | None:
    """Return VmRSS (memory in use) or VmHWM (its peak) of this process in bytes, on Linux.

    ``resource.getrusage`` would start from the peak of the process that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        return None


def take_part(name: str, setting: Setting, subsets: Sequence[int]) -> dict[str, Any]:
    contestant = CONTESTANTS[name]
    before = memory("VmRSS")

    def made(setting: Setting) -> Data:
        data = in_memory(setting)
        if contestant.one_hot:
            rows = (one_hot(labels, setting.n_classes) for labels in (data.query_labels, data.database_labels))
            data = Data(data.queries, data.database, *rows)
        return data

    tiny = made(setting._replace(n_queries=16, n_items=512))
    started = perf_counter()
    contestant.evaluate(tiny, 10)
    first_call = perf_counter() - started

    data = made(setting)
    started, cpu_started = perf_counter(), process_time()
    scores = contestant.evaluate(data, setting.top_k)
    seconds, cpu = perf_counter() - started, process_time() - cpu_started
    peak = memory("VmHWM")
    report = {
        "seconds": seconds,
        "cpu": cpu,
        "first_call": first_call,
        "memory": None if before is None or peak is None else (peak - before) / 2**20,
        "scores": scores,
    }
    for n in subsets:  # what the order of ties can do to those that run on the first queries only
        some = data._replace(queries=data.queries[:n], query_labels=data.query_labels[:n])
        report[f"scores of {n}"] = contestant.evaluate(some, setting.top_k)
    return report


def stream(setting: Setting) -> dict[str, Any]:
    """Feed ours with packed chunks, and stop the clock while they are made."""
    before = memory("VmRSS")
    tiny = setting._replace(n_queries=16, n_items=512)
    started = perf_counter()
    timed_stream(tiny)
    first_call = perf_counter() - started
    seconds, cpu, scores = timed_stream(setting)
    peak = memory("VmHWM")
    added = None if before is None or peak is None else (peak - before) / 2**20
    return {"seconds": seconds, "cpu": cpu, "first_call": first_call, "memory": added, "scores": scores}


def timed_stream(setting: Setting) -> tuple[float, float, Scores]:
    from hashcenters import HammingRetrievalEvaluator

    evaluator = HammingRetrievalEvaluator(setting.n_bits, top_k=setting.top_k)
    seconds = cpu = 0.0
    sides = ((evaluator.add_queries, setting.n_queries, 1), (evaluator.add_database, setting.n_items, 2))
    for add, n_rows, seed in sides:
        for bits, labels in chunks(setting, n_rows, seed):
            packed = np.packbits(bits, axis=1)
            started, cpu_started = perf_counter(), process_time()
            add(packed, labels)
            seconds, cpu = seconds + perf_counter() - started, cpu + process_time() - cpu_started
    started, cpu_started = perf_counter(), process_time()
    result = evaluator.compute()
    seconds, cpu = seconds + perf_counter() - started, cpu + process_time() - cpu_started
    return seconds, cpu, (result.map, result.map_best, result.map_worst)


# --- in the process that asks


def ask(name: str, setting: Setting, threads: int, subsets: Sequence[int] = (), **environment: str) -> dict[str, Any]:
    """Run a contestant, or "stream", in a fresh process."""
    job = json.dumps([name, setting, list(subsets), threads])
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    run = subprocess.run(
        [sys.executable, __file__, "--job", job],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | limits | environment,
        check=False,
    )
    if run.returncode:
        sys.exit(f"{name} failed with exit status {run.returncode}; what it said is above")
    report: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return report


def answer(job: str) -> None:
    name, values, subsets, threads = json.loads(job)
    torch.set_num_threads(threads)
    setting = Setting(*values)
    print(json.dumps(stream(setting) if name == "stream" else take_part(name, setting, subsets)))


def side_by_side(
    setting: Setting, names: Sequence[str], rounds: int, threads: int, *, at_once: int = 1, timed: int | None = None
) -> list[Row]:
    """Let the contestants run in turn, ``rounds`` times; ``timed`` overrides how many queries the slow ones run on."""
    taken = {}
    for name in names:
        limit = CONTESTANTS[name].timed
        taken[name] = setting.n_queries if limit is None else min(timed or limit, setting.n_queries)
    subsets = sorted(set(taken.values()) - {setting.n_queries})
    jobs = [(name, setting._replace(n_queries=taken[name])) for _ in range(rounds) for name in names]
    with ThreadPoolExecutor(at_once) as pool:
        reports = list(pool.map(lambda job: ask(job[0], job[1], threads, subsets if job[0] == "ours" else ()), jobs))
    by_name = {
        name: [report for (other, _), report in zip(jobs, reports, strict=True) if other == name] for name in names
    }
    bounds = {setting.n_queries: by_name["ours"][0]["scores"]}
    bounds |= {n: by_name["ours"][0][f"scores of {n}"] for n in subsets}
    our_best = min(report["seconds"] for report in by_name["ours"])
    rows = []
    for name in names:
        _, best, worst = bounds[taken[name]]
        rows.append(summary("side by side", name, setting, taken[name], by_name[name], our_best, (worst, best)))
    return rows


def summary(
    table: str,
    name: str,
    setting: Setting,
    timed: int,
    reports: Sequence[dict[str, Any]],
    our_best: float | None,
    bounds: tuple[float | None, float | None],
) -> Row:
    factor = setting.n_queries / timed
    seconds = [factor * report["seconds"] for report in reports]
    memories = [report["memory"] for report in reports if report["memory"] is not None]
    return Row(
        table,
        name,
        *setting[:6],
        queries_timed=timed,
        rounds=len(reports),
        best_seconds=min(seconds),
        median_seconds=statistics.median(seconds),
        cpu_seconds=factor * statistics.median(report["cpu"] for report in reports),
        times_ours=None if our_best is None else min(seconds) / our_best,
        memory_mib=statistics.median(memories) if memories else None,
        first_call_seconds=statistics.median(report["first_call"] for report in reports),
        map=reports[0]["scores"][0],
        map_worst=bounds[0],
        map_best=bounds[1],
    )


def scaling_settings(*, quick: bool) -> dict[str, list[Setting]]:
    """Return what varies, and the settings."""
    base = Setting(n_queries=1000, n_items=1_000_000)
    sizes: Sequence[int] = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
    queries: Sequence[int] = (100, 1000, 5000, 20_000)
    lengths: Sequence[int] = (16, 32, 64, 128, 256, 512)
    classes: Sequence[int] = (21, 80, 1000)
    if quick:
        base, sizes, queries, lengths, classes = QUICK, (4000,), (), (128,), (21,)
    return {
        "items": [base._replace(n_items=n) for n in sizes],
        "queries": [base._replace(n_queries=n, n_items=Setting().n_items) for n in queries],
        "bits": [base._replace(n_bits=n) for n in lengths],
        "labels": [base, *(base._replace(n_classes=n, multi_hot=True) for n in classes)],
    }


def measure_scaling(rounds: int, threads: int, *, quick: bool) -> list[Row]:
    rows = []
    for what, settings in scaling_settings(quick=quick).items():
        if not settings:
            continue
        names = ("queries", "items", "bits", "labels", "best s", "median s", "ps per item and query", "memory, MiB")
        header(f"Scaling in {what}", *names)
        for setting in settings:
            reports = [ask("stream", setting, threads) for _ in range(rounds)]
            row = summary(f"scaling in {what}", "ours", setting, setting.n_queries, reports, None, (None, None))
            pairs = setting.n_queries * setting.n_items
            line(
                *(f"{setting.n_queries:,}", f"{setting.n_items:,}", setting.n_bits, setting.labels),
                *(shown(row.best_seconds), shown(row.median_seconds), f"{1e12 * row.best_seconds / pairs:.0f}"),
                "" if row.memory_mib is None else f"{row.memory_mib:.0f}",
            )
            rows.append(row)
    return rows


def shown(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"


def line(*fields: object) -> None:
    """Print a line of a Markdown table."""
    print("| " + " | ".join(str(field) for field in fields) + " |", flush=True)


def header(title: str, *names: str) -> None:
    print(f"\n## {title}\n")
    line(*names)
    line(*("---" if name in ("contestant", "labels", "agrees") else "---:" for name in names))


def print_rows(setting: Setting, rows: Sequence[Row]) -> None:
    header(
        f"{setting.n_queries:,} queries x {setting.n_items:,} items x {setting.n_bits} bits, {setting.labels}",
        *("contestant", "timed", "best s", "median s", "CPU s", "best / ours", "memory, MiB", "first call s"),
        *(f"mAP@{setting.top_k}", "worst to best by ties", "agrees"),
    )
    for row in rows:
        line(
            *(row.contestant, f"{row.queries_timed:,}", shown(row.best_seconds), shown(row.median_seconds)),
            *(shown(row.cpu_seconds), "" if row.times_ours is None else f"{row.times_ours:,.1f}"),
            "" if row.memory_mib is None else f"{row.memory_mib:.0f}",
            *(f"{row.first_call_seconds:.2f}", f"{row.map:.6f}", f"{row.map_worst:.6f} to {row.map_best:.6f}"),
            "yes" if row.agrees else "NO",
        )


def print_from_nothing(setting: Setting, threads: int) -> None:
    """Say what the very first call after an installation costs, which compiles the loops."""
    with tempfile.TemporaryDirectory() as folder:
        cold = ask("ours", setting, threads, NUMBA_CACHE_DIR=folder)
    memory_used = "" if cold["memory"] is None else f"; memory {cold['memory']:.0f} MiB"
    print(
        f"\nOurs, the first call after an installation, which compiles for {setting.labels}: "
        f"{cold['first_call']:.1f} s, then {cold['seconds']:.3f} s{memory_used}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Time and memory of an exact evaluation, ours and the field's.")
    parser.add_argument("--scaling", action="store_true", help="also measure how ours grows")
    parser.add_argument("--rounds", type=int, default=5, help="times that everyone runs (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of everyone (default: %(default)s)")
    parser.add_argument(
        "--timed",
        type=int,
        help="queries that the slow ones run on (default: 200; 50 for torchmetrics, which takes 15 MB each)",
    )
    parser.add_argument("--only", choices=[*CONTESTANTS][1:], help="ours and this one")
    parser.add_argument("--csv", type=Path, default=ASSETS / "retrieval.csv", help="where to write the table")
    parser.add_argument("--quick", action="store_true", help="a small setting, one round, fewer contestants")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what a contestant's process is asked
    args = parser.parse_args(argv)
    if args.job is not None:
        answer(args.job)
        return 0
    for name in ("rounds", "threads", "timed"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")

    print(__doc__.split("\n\n")[-1].strip() if __doc__ else "")
    present = []
    for name, contestant in CONTESTANTS.items():
        if contestant.needs is not None and importlib.util.find_spec(contestant.needs) is None:
            print(f"\n{name} is left out: {contestant.needs} is not installed")
        elif args.only in (None, name) or name == "ours":
            present.append(name)
    base = QUICK if args.quick else Setting()
    if args.quick:
        args.rounds, args.threads, args.timed = 1, 1, args.timed or 50
        present = [name for name in present if name not in ("argsort of a matrix", "torchmetrics")]
    rows = []
    for setting in (base, base._replace(n_classes=80, multi_hot=True)):
        if args.quick and setting.multi_hot:
            present = present[:2]
        at_once = 2 if args.quick else 1  # nobody looks at the times
        some = side_by_side(setting, present, args.rounds, args.threads, at_once=at_once, timed=args.timed)
        print_rows(setting, some)
        if not args.quick:
            print_from_nothing(setting, args.threads)
        rows += some
    compared = len(rows)
    if args.scaling:
        rows += measure_scaling(min(args.rounds, 3), args.threads, quick=args.quick)

    args.csv.parent.mkdir(parents=True, exist_ok=True)
    with args.csv.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Row._fields)
        writer.writerows([f"{field:.6f}" if isinstance(field, float) else field for field in row] for row in rows)
    agreeing = sum(row.agrees for row in rows)
    print(f"\nIn {args.csv}. {agreeing} of {compared} side by side agree" if not args.scaling else f"\nIn {args.csv}")
    return int(agreeing < len(rows))


if __name__ == "__main__":
    sys.exit(main())
