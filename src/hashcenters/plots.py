"""Pictures of retrieval results and of codes: functions of results and an Axes. Needs the extra ``plots``.

The curves of the paper's Figures 5 and 6, the codes in two dimensions of Figure 2, the neighbors of Figure 7 and the
heat map of Figure 8. Every function draws on the Axes it is given, or on a new figure's, and returns it: saving and
styling stay yours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hashcenters.centers.report import center_report
from hashcenters.checks import check_centers, check_count, check_labels
from hashcenters.retrieval import RetrievalResult
from hashcenters.retrieval.codes import hamming_distance, to_packed, unpack

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise ImportError(f'{error}; plots need matplotlib: pip install "hashcenters[plots]"', name=error.name) from error

__all__ = [
    "center_distance_heatmap",
    "center_distances",
    "codes_in_2d",
    "neighbor_grid",
    "precision_at_n",
    "precision_by_bits",
    "precision_recall_curve",
    "precision_within_radius",
]

Results: TypeAlias = RetrievalResult | Mapping[str, RetrievalResult]

# Ten colours that stay apart under colour-vision deficiency: M. A. Petroff, "Accessible color sequences for data
# visualization", arXiv:2107.02270. Line styles and markers tell methods apart in grey print too.
_COLORS = (
    "#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#717581", "#e76300", "#a96b59", "#92dadd", "#b9ac70", "#94a4a2",
)  # fmt: skip
_LINES = ("-", "--", "-.", ":")
_ROWS = 1024  # centers whose distances are held at once
_LEAST_POINTS = 4.0  # smaller print is not readable
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_RIGHT, _WRONG = ("#1b7837", "-", "✓"), ("#c51b1b", "--", "✗")  # told apart in grey print by line and mark


def precision_recall_curve(results: Results, ax: Axes | None = None) -> Axes:
    """Draw precision against recall, one point a Hamming radius (Figures 5a and 6a).

    The dot is the point at the result's own ``radius``. The thin line on the left leads from recall 0 to the first
    point: inside the smallest ball the order is chance, so its precision holds from the first item on.

    Args:
        results: one result, or ``{name: result}`` to overlay methods.
        ax: where to draw; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        TypeError: ``results`` is neither a result nor a mapping to results.
        ValueError: ``results`` is an empty mapping.

    Examples:
        >>> import torch
        >>> from hashcenters import HammingRetrievalEvaluator, plots
        >>> evaluator = HammingRetrievalEvaluator(16)
        >>> evaluator.add_database(torch.randn(50, 16), torch.arange(50) % 5)
        >>> evaluator.add_queries(torch.randn(10, 16), torch.arange(10) % 5)
        >>> ax = plots.precision_recall_curve({"CSQ": evaluator.compute()})
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('recall', 'precision')
    """
    named = _named(results)
    ax = _axes(ax)
    for (name, result), style in zip(named.items(), _styles(len(named)), strict=True):
        recall, precision = (
            _numbers(values) for values in (result.precision_recall.recall, result.precision_recall.precision)
        )
        seen = np.isfinite(precision) & (
            _numbers(result.empty_share) < 1
        )  # where every ball is empty there is no precision
        (line,) = ax.plot(recall[seen], precision[seen], label=name, **style)
        ax.plot([0, recall[seen][0]], [precision[seen][0]] * 2, color=line.get_color(), linewidth=0.8)
        at = min(result.radius, result.n_bits)
        if seen[at]:
            ax.plot(recall[at], precision[at], "o", color=line.get_color(), markersize=4)
    return _finished(ax, named, xlabel="recall", ylabel="precision", xlim=(0, 1.02))


def precision_at_n(results: Results, ax: Axes | None = None) -> Axes:
    """Draw the precision of the first N returned items, expected over tie orders, against N (Figures 5b and 6b).

    Args:
        results: one result, or ``{name: result}`` to overlay methods.
        ax: where to draw; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        TypeError: ``results`` is neither a result nor a mapping to results.
        ValueError: ``results`` is an empty mapping.

    Examples:
        >>> import torch
        >>> from hashcenters import HammingRetrievalEvaluator, plots
        >>> evaluator = HammingRetrievalEvaluator(16)
        >>> evaluator.add_database(torch.randn(50, 16), torch.arange(50) % 5)
        >>> evaluator.add_queries(torch.randn(10, 16), torch.arange(10) % 5)
        >>> ax = plots.precision_at_n(evaluator.compute())
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('returned items N', 'precision at N')
    """
    named = _named(results)
    ax = _axes(ax)
    longest = 1
    for (name, result), style in zip(named.items(), _styles(len(named)), strict=True):
        precision = _numbers(result.precision_at_n)
        ax.plot(np.arange(1, len(precision) + 1), precision, label=name, **style)
        longest = max(longest, len(precision))
    return _finished(ax, named, xlabel="returned items N", ylabel="precision at N", xlim=(0, max(longest, 2)))


def precision_within_radius(results: Results, ax: Axes | None = None) -> Axes:
    """Draw the precision among the items within a Hamming radius, against the radius.

    A query with an empty ball counts 0, as in the paper's P@H<=2; the dot is the point at the result's ``radius``.

    Args:
        results: one result, or ``{name: result}`` to overlay methods.
        ax: where to draw; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        TypeError: ``results`` is neither a result nor a mapping to results.
        ValueError: ``results`` is an empty mapping.

    Examples:
        >>> import torch
        >>> from hashcenters import HammingRetrievalEvaluator, plots
        >>> evaluator = HammingRetrievalEvaluator(16)
        >>> evaluator.add_database(torch.randn(50, 16), torch.arange(50) % 5)
        >>> evaluator.add_queries(torch.randn(10, 16), torch.arange(10) % 5)
        >>> ax = plots.precision_within_radius(evaluator.compute())
        >>> ax.get_xlabel()
        'Hamming radius r (bits)'
    """
    named = _named(results)
    ax = _axes(ax)
    for (name, result), style in zip(named.items(), _styles(len(named)), strict=True):
        precision = _numbers(result.precision_within_radius)
        (line,) = ax.plot(np.arange(len(precision)), precision, label=name, **style)
        at = min(result.radius, result.n_bits)
        ax.plot(at, precision[at], "o", color=line.get_color(), markersize=4)
    longest = max(result.n_bits for result in named.values())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finished(ax, named, xlabel="Hamming radius r (bits)", ylabel="precision within r", xlim=(0, longest))


def precision_by_bits(
    results: RetrievalResult
    | Mapping[int, RetrievalResult]
    | Mapping[str, RetrievalResult]
    | Mapping[str, Mapping[int, RetrievalResult]],
    ax: Axes | None = None,
    *,
    radius: int = 2,
) -> Axes:
    """Draw the precision within one Hamming radius against the code length (P@H<=2 of Figures 5c and 6c).

    Args:
        results: ``{n_bits: result}``, or ``{name: {n_bits: result}}`` to overlay methods; one result, or
            ``{name: result}``, is a single point each.
        ax: where to draw; ``None`` makes a new figure.
        radius: Hamming radius in bits; beyond ``n_bits`` all items are inside. A query with an empty ball counts 0.

    Returns:
        The Axes.

    Raises:
        TypeError: ``results`` is none of these.
        ValueError: a mapping is empty, a key differs from its result's ``n_bits``, or ``radius`` is negative.

    Examples:
        >>> import torch
        >>> from hashcenters import HammingRetrievalEvaluator, plots
        >>> evaluator = HammingRetrievalEvaluator(16)
        >>> evaluator.add_database(torch.randn(50, 16), torch.arange(50) % 5)
        >>> evaluator.add_queries(torch.randn(10, 16), torch.arange(10) % 5)
        >>> ax = plots.precision_by_bits({"CSQ": {16: evaluator.compute()}})
        >>> ax.get_ylabel()
        'precision within radius 2'
    """
    radius = check_count(radius, "radius", least=0)
    expected = "{n_bits: RetrievalResult} or {name: {n_bits: RetrievalResult}}"
    if isinstance(results, RetrievalResult):
        results = {results.n_bits: results}
    table = _mapping(results, expected)
    if any(isinstance(name, Integral) for name in table):
        table = {"": table}
    table = {n: {r.n_bits: r} if isinstance(r, RetrievalResult) else r for n, r in table.items()}
    named = {name: dict(sorted(_named(by_bits, expected).items())) for name, by_bits in table.items()}
    for by_bits in named.values():
        for n_bits, result in by_bits.items():
            if n_bits != result.n_bits:
                raise ValueError(
                    f"results: key {n_bits!r} holds a result of n_bits={result.n_bits}; the key must be its n_bits"
                )
    ax = _axes(ax)
    for (name, by_bits), style, marker in zip(named.items(), _styles(len(named)), cycle(_MARKERS), strict=False):
        precision = [float(result.precision_within_radius[min(radius, result.n_bits)]) for result in by_bits.values()]
        ax.plot(list(by_bits), precision, label=name, marker=marker, markersize=4.5, **style)
    bits = sorted({n_bits for by_bits in named.values() for n_bits in by_bits})
    ax.set_xticks(bits)
    margin = max(2.0, 0.06 * (bits[-1] - bits[0]))
    limits = (bits[0] - margin, bits[-1] + margin)
    return _finished(ax, named, xlabel="code length (bits)", ylabel=f"precision within radius {radius}", xlim=limits)


def center_distance_heatmap(
    codes: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    centers: Tensor,
    ax: Axes | None = None,
    max_classes: int = 20,
) -> Axes:
    """Draw the mean Hamming distance of the codes of every class to every center (Figure 8).

    Good codes show a dark diagonal: near their own center, n_bits / 2 from the others. The distances are printed in
    their cells, unless these are too small to read.

    Args:
        codes: float or bool (n, n_bits), or packed uint8.
        labels: class indices (n,), or multi-hot (n, n_classes), where an item counts in each of its classes.
        centers: float (n_classes, n_bits) of ±1.
        ax: where to draw; ``None`` makes a new figure.
        max_classes: draw the first so many of the classes that have codes.

    Returns:
        The Axes.

    Raises:
        TypeError: wrong type of codes, labels or centers.
        ValueError: wrong shapes, labels outside of the centers' classes, or no labelled code at all.

    Examples:
        >>> import torch
        >>> from hashcenters import HashCenterGenerator, plots
        >>> centers = HashCenterGenerator(16, method="paper")(4)
        >>> ax = plots.center_distance_heatmap(centers, torch.arange(4), centers)
        >>> [text.get_text() for text in ax.texts[:4]]
        ['0.0', '8.0', '8.0', '8.0']
    """
    check_centers(centers)
    check_count(max_classes, "max_classes")
    centers = centers.detach().cpu().float()
    n_classes, n_bits = centers.shape
    signs = unpack(torch.tensor(to_packed(codes, n_bits)), n_bits)
    member = _membership(labels, n_classes, len(signs))
    counts = member.sum(0)
    classes = torch.nonzero(counts).flatten()[:max_classes]
    if len(classes) == 0:
        raise ValueError("labels give no code a class: there is nothing to draw")
    means = member[:, classes].T @ signs / counts[classes, None]
    distances = ((n_bits - means @ centers[classes].T) / 2).numpy()

    ax = _axes(ax, figsize=(4.6, 3.9), layout="compressed")  # "constrained" cuts the labels of square axes
    limit = max(float(distances.max()), n_bits / 2)
    image = ax.imshow(distances, cmap="Blues_r", vmin=0, vmax=limit)
    bar = ax.figure.colorbar(image, ax=ax, label="mean distance (bits)", fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    names = [str(int(label)) for label in classes]
    box = ax.get_window_extent()
    cell = min(box.width, box.height) / len(names) / ax.figure.dpi * 72  # points
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0, labelsize=min(10.0, 0.65 * cell))
    ax.spines[:].set_visible(False)
    ax.set_xlabel("center of class")
    ax.set_ylabel("codes of class")
    digits = 1 if len(names) <= 10 else 0
    size = min(9.0, (0.34 if digits else 0.42) * cell)  # "32.0" is about 2.4 times as wide as it is high
    if size >= _LEAST_POINTS:
        for (row, column), distance in np.ndenumerate(distances):
            color = "white" if distance < 0.5 * limit else "0.2"
            ax.text(column, row, f"{distance:.{digits}f}", ha="center", va="center", color=color, fontsize=size)
    return ax


def center_distances(
    centers: Tensor, axes: tuple[Axes, Axes] | None = None, max_classes: int = 1000
) -> tuple[Axes, Axes]:
    """Draw how far apart centers are: how many pairs have which distance, and the distance of every pair.

    In the histogram n_bits / 2, the mean that Definition 1 asks for, and the upper bound on the least distance are
    marked; no bar stands between 0 and the least distance.

    Args:
        centers: float (n_classes, n_bits) of ±1, two at least.
        axes: where to draw the histogram and the matrix; ``None`` makes a new figure.
        max_classes: the matrix shows the first so many classes; all count in the histogram.

    Returns:
        The Axes of the histogram and of the matrix.

    Raises:
        TypeError: ``centers`` is not a floating-point tensor, ``max_classes`` is not an integer, or ``axes`` are not
            two.
        ValueError: ``centers`` is not two-dimensional, holds something other than ±1 or has a single row, or
            ``max_classes`` is below 2.

    Examples:
        >>> from hashcenters import HashCenterGenerator, plots
        >>> histogram, matrix = plots.center_distances(HashCenterGenerator(16)(100))
        >>> [int(bar.get_x() + 0.5) for bar in histogram.patches if bar.get_height() > 0]
        [6, 8, 10, 16]
    """
    check_centers(centers)
    check_count(max_classes, "max_classes", least=2)
    if len(centers) < 2:
        raise ValueError(f"centers must be two at least to have distances, got shape {tuple(centers.shape)}")
    signs = centers.detach().cpu().float()
    n_classes, n_bits = signs.shape
    report = center_report(signs)
    counts = np.zeros(n_bits + 1, dtype=np.int64)
    for start in range(0, n_classes, _ROWS):
        rows = ((n_bits - signs[start : start + _ROWS] @ signs[start:].T) / 2).numpy().astype(np.int64)
        counts += np.bincount(rows[np.triu_indices(len(rows), 1, rows.shape[1])], minlength=n_bits + 1)
    drawn = signs[:max_classes]
    distances = (n_bits - drawn @ drawn.T) / 2
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(8.4, 3.5), layout="constrained", width_ratios=(1.25, 1))
    if isinstance(axes, Axes) or len(axes) != 2:
        raise TypeError(f"axes must be two Axes, of the histogram and of the matrix, got {axes!r}")
    left, right = axes

    left.bar(np.arange(n_bits + 1), counts, width=1.0, color=_COLORS[0], edgecolor="white", linewidth=0.4)
    left.axvline(n_bits / 2, color="0.4", linewidth=1.0, linestyle=":", label="n_bits / 2")
    bound = f"{'least distance = ' if report.is_optimal else ''}upper bound {report.upper_bound}"
    left.axvline(report.upper_bound, color=_COLORS[1], linewidth=1.2, linestyle="--", label=bound)
    if not report.is_optimal:
        left.axvline(report.min_distance, color="0.1", linewidth=1.2, label=f"least distance {report.min_distance}")
    left.set(xlabel="distance of two centers (bits)", ylabel="pairs", xlim=(-0.5, n_bits + 0.5))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3)

    image = right.imshow(distances.numpy(), cmap="Blues_r", vmin=0, vmax=n_bits, interpolation="nearest")
    bar = right.figure.colorbar(image, ax=right, label="distance (bits)", fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    names = "class" if len(drawn) == n_classes else f"class (the first {len(drawn):,} of {n_classes:,})"
    right.set(xlabel=names, ylabel="class")
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    right.spines[:].set_visible(False)
    return left, right


def codes_in_2d(
    codes: Tensor | NDArray[Any],
    labels: Tensor | NDArray[Any],
    ax: Axes | None = None,
    seed: int = 0,
    max_items: int = 2000,
) -> Axes:
    """Draw codes as points in the plane, coloured by class: t-SNE on their Hamming distances (Figure 2).

    Look at how compact and how separate the groups are; t-SNE says little about the distances between far groups. A
    random part of a bit is added to every distance, so that many equal codes appear as a disc and not as one point.

    Args:
        codes: float or bool (n, n_bits), or packed uint8.
        labels: class indices (n,).
        ax: where to draw; ``None`` makes a new figure.
        seed: seed of the subsample, of the parts of a bit and of t-SNE.
        max_items: draw at most so many codes, every class with its share.

    Returns:
        The Axes.

    Raises:
        ImportError: scikit-learn is missing.
        TypeError: wrong type of codes.
        ValueError: labels are not one class index a code, or fewer than 3 codes.

    Examples:
        >>> import torch
        >>> from hashcenters import HashCenterGenerator, plots
        >>> centers = HashCenterGenerator(16)(4)
        >>> ax = plots.codes_in_2d(centers.repeat(5, 1), torch.arange(4).repeat(5))
        >>> sum(len(points.get_offsets()) for points in ax.collections)
        20
    """
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError as error:
        raise ImportError(
            f'{error}; codes_in_2d needs scikit-learn: pip install "hashcenters[plots]"', name=error.name
        ) from error
    check_count(max_items, "max_items", least=3)
    packed = to_packed(codes, _n_bits(codes))
    classes = _numbers(labels)
    if classes.ndim != 1 or len(classes) != len(packed):
        raise ValueError(f"labels must be one class index a code: {len(packed)} codes, labels of shape {classes.shape}")
    if len(packed) < 3:
        raise ValueError(f"codes_in_2d needs at least 3 codes, got {len(packed)}")
    kept = _stratified(classes, max_items, seed)
    packed, classes = packed[kept], classes[kept]
    tensor = torch.tensor(packed)
    distances = hamming_distance(tensor, tensor).numpy() + _part_of_a_bit(len(kept), seed)
    tsne = TSNE(
        metric="precomputed", init="random", perplexity=min(30.0, (len(kept) - 1) / 3), random_state=seed, n_jobs=1
    )
    points = tsne.fit_transform(distances)

    ax = _axes(ax, figsize=(4.2, 3.9))
    names = np.unique(classes)
    for number, label in enumerate(names):
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number // len(_COLORS) % len(_MARKERS)]
        group = points[classes == label]
        ax.scatter(
            group[:, 0], group[:, 1], s=9, color=color, marker=marker, alpha=0.75, linewidths=0, label=str(label)
        )
    if len(names) <= 2 * len(_COLORS):
        columns = 1 if len(names) <= len(_COLORS) else 2
        ax.legend(
            title="class", loc="center left", bbox_to_anchor=(1, 0.5), ncols=columns, markerscale=1.8, frameon=False,
            handletextpad=0.2, columnspacing=1.0,
        )  # fmt: skip
    else:  # more classes than a legend can tell apart: every group carries its own name
        for label in names:
            middle = np.median(points[classes == label], axis=0)
            text = ax.text(middle[0], middle[1], str(label), ha="center", va="center", fontsize=8)
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    ax.set(xticks=[], yticks=[], xlabel="t-SNE of Hamming distances", aspect="equal", adjustable="datalim")
    ax.spines[:].set_color("0.8")
    return ax


def neighbor_grid(
    queries: Sequence[Any],
    neighbors: Sequence[Sequence[Any]],
    relevant: Sequence[Sequence[bool]] | NDArray[Any] | Tensor,
    *,
    shared: Sequence[Sequence[int]] | NDArray[Any] | Tensor | None = None,
    captions: Sequence[str] | None = None,
    axes: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Draw queries, each with its nearest items beside it, marked right or wrong (Figure 7).

    A relevant item has a solid green frame and ✓, another one a dashed red frame and ✗.

    Args:
        queries: a picture each: a PIL image, or an array (height, width) or (height, width, 3), uint8 or float in 0..1;
            None for one that is missing.
        neighbors: for each query its nearest items' pictures, nearest first; some queries may have fewer.
        relevant: for each of these pictures whether it is relevant.
        shared: for each of them the number of labels it shares with the query, written below it.
        captions: a line for each query, written above it; where it is long, above its neighbors too.
        axes: where to draw, an array (n_queries, 1 + the most neighbors) of Axes; ``None`` makes a new figure.

    Returns:
        The array of Axes.

    Raises:
        ValueError: no query, or sizes that do not go together.

    Examples:
        >>> import numpy as np
        >>> from hashcenters import plots
        >>> tile = np.zeros((8, 8, 3), dtype=np.uint8)
        >>> axes = plots.neighbor_grid([tile], [[tile, tile]], [[True, False]], shared=[[2, 0]])
        >>> axes.shape, [text.get_text() for ax in axes[0, 1:] for text in ax.texts]
        ((1, 3), ['✓', '✗'])
    """
    n_queries = len(queries)
    if not n_queries:
        raise ValueError("queries must hold at least one picture, got none")
    lengths = [len(row) for row in neighbors]
    if len(lengths) != n_queries:
        raise ValueError(f"neighbors must have one row a query: {n_queries} queries, {len(lengths)} rows")
    for name, rows in (("relevant", relevant), ("shared", shared)):
        if rows is not None and (got := [len(row) for row in rows]) != lengths:
            raise ValueError(f"{name} must have a value for each neighbor: rows of {lengths}, got rows of {got}")
    if captions is not None and len(captions) != n_queries:
        raise ValueError(f"captions must be one a query: {n_queries} queries, {len(captions)} captions")
    shape = (n_queries, 1 + max(lengths))
    if axes is None:
        height = 1.12 + 0.16 * (shared is not None) + 0.22 * (captions is not None)
        size = (1.05 * shape[1], height * n_queries)
        _, axes = plt.subplots(*shape, squeeze=False, figsize=size, layout="constrained")
    elif np.shape(axes) != shape:
        raise ValueError(f"axes must be an array {shape} of Axes, got shape {np.shape(axes)}")

    for row in range(n_queries):
        _picture(axes[row, 0], queries[row])
        axes[row, 0].spines[:].set(color="0.2", linewidth=1.2)
        axes[row, 0].set_xlabel("query", fontsize="small", labelpad=3)
        if captions is not None:
            axes[row, 0].set_title(" ", fontsize="small", pad=4)  # room above, which the line below does not ask for
            text = axes[row, 0].annotate(
                captions[row], (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize="small",
                parse_math=False,
            )  # fmt: skip
            text.set_in_layout(False)  # a long one runs over the neighbors, it does not widen the query's column
        for column, ax in enumerate(axes[row, 1:]):
            if column >= lengths[row]:
                ax.set_axis_off()
                continue
            _picture(ax, neighbors[row][column])
            color, line, mark = _RIGHT if relevant[row][column] else _WRONG
            ax.spines[:].set(color=color, linestyle=line, linewidth=2.4)
            text = ax.text(0.93, 0.93, mark, transform=ax.transAxes, ha="right", va="top", fontsize=9, color="white")
            text.set_bbox({"boxstyle": "circle,pad=0.15", "facecolor": color, "edgecolor": "white", "linewidth": 0.8})
            if shared is not None:
                ax.set_xlabel(str(int(shared[row][column])), fontsize="small", labelpad=3)
    return axes


def _picture(ax: Axes, image: object) -> None:
    """Draw an image in a square tile of its own; a missing one is a grey tile."""
    ax.set(xticks=[], yticks=[], box_aspect=1, facecolor="0.93")
    if image is None:
        ax.text(0.5, 0.5, "no picture", transform=ax.transAxes, ha="center", va="center", fontsize=6, color="0.3")
    else:
        pixels = np.asarray(image)
        black, white = (0, 255) if pixels.dtype == np.uint8 else (0, 1)  # a grey picture keeps its contrast
        ax.imshow(pixels, cmap="gray", vmin=black, vmax=white, aspect="equal", interpolation="antialiased")
        ax.set(adjustable="datalim", anchor="C")


def _named(
    results: object, expected: str = "a RetrievalResult or {name: RetrievalResult}"
) -> dict[Any, RetrievalResult]:
    if isinstance(results, RetrievalResult):
        return {"": results}
    named = _mapping(results, expected)
    for name, result in named.items():
        if not isinstance(result, RetrievalResult):
            raise TypeError(f"results must be {expected}, got {type(result).__name__} under {name!r}")
    return named


def _mapping(results: object, expected: str) -> dict[Any, Any]:
    if not isinstance(results, Mapping):
        raise TypeError(f"results must be {expected}, got {type(results).__name__}")
    if not results:
        raise ValueError(f"results must be {expected}, got an empty mapping")
    return dict(results)


def _numbers(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _n_bits(codes: Tensor | NDArray[Any]) -> int:
    """Return a width that serves for distances: of packed codes all bits, those behind the last being 0."""
    if not isinstance(codes, Tensor | np.ndarray):
        raise TypeError(f"codes must be a torch tensor or a numpy array, got {type(codes).__name__}")
    width = int(codes.shape[-1]) if len(codes.shape) else 0
    return 8 * width if str(codes.dtype).endswith("uint8") else width


def _membership(labels: Tensor | NDArray[Any], n_classes: int, n_codes: int) -> Tensor:
    """Return float32 (n_codes, n_classes), 1 where the item has the label."""
    labels = torch.tensor(_numbers(labels))
    check_labels(labels, n_classes, n_rows=n_codes)
    if labels.ndim == 2:
        return labels.float()
    return torch.nn.functional.one_hot(labels.long(), n_classes).float()


def _stratified(classes: NDArray[Any], max_items: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted rows of a random subset in which every class has its share."""
    order = np.argsort(np.random.Philox(seed).random_raw(len(classes)), kind="stable")
    place = np.empty(len(classes))
    for label in np.unique(classes):
        members = order[classes[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(order[np.argsort(place[order], kind="stable")][:max_items])


def _part_of_a_bit(count: int, seed: int) -> NDArray[np.float64]:
    """Return a symmetric matrix of random numbers in [0, 1), the diagonal 0."""
    words = np.random.Philox(seed).random_raw((count, count))
    upper = np.triu((words >> np.uint64(11)) * 2.0**-53, k=1)
    both: NDArray[np.float64] = upper + upper.T
    return both


def _styles(count: int) -> list[dict[str, Any]]:
    styles = zip(cycle(_COLORS), cycle(_LINES), range(count), strict=False)
    return [{"color": color, "linestyle": line, "linewidth": 1.6} for color, line, _ in styles]


def _axes(
    ax: Axes | None,
    *,
    figsize: tuple[float, float] = (4.2, 3.1),
    layout: Literal["constrained", "compressed"] = "constrained",
) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout=layout)
    return ax


def _finished(ax: Axes, named: Mapping[str, object], *, xlabel: str, ylabel: str, xlim: tuple[float, float]) -> Axes:
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=xlim, ylim=(0, 1.02))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    if set(named) != {""}:
        ax.legend(frameon=False, fontsize="small", labelspacing=0.3)
    return ax
