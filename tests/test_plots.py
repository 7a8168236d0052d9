import runpy
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from hashcenters import HammingRetrievalEvaluator, HashCenterGenerator, center_report, plots
from hashcenters.retrieval import pack

CURVES = [plots.precision_recall_curve, plots.precision_at_n, plots.precision_within_radius]


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def make_codes(n, n_bits=16, n_classes=5, noise=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = HashCenterGenerator(n_bits)(n_classes)
    labels = torch.arange(n) % n_classes
    flips = torch.rand(n, n_bits, generator=generator) < noise
    return torch.where(flips, -centers[labels], centers[labels]), labels, centers


def make_result(n_bits=16, noise=0.1, **options):
    evaluator = HammingRetrievalEvaluator(n_bits, **options)
    evaluator.add_database(*make_codes(200, n_bits, noise=noise)[:2])
    evaluator.add_queries(*make_codes(40, n_bits, noise=noise, seed=1)[:2])
    return evaluator.compute()


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("curve", CURVES)
def test_curves_overlay_methods(curve):
    results = {"CSQ": make_result(), "other": make_result(noise=0.3)}
    ax = curve(results)
    assert legend_of(ax) == ["CSQ", "other"]
    assert ax.get_ylim() == (0, 1.02)
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines() if line.get_label() in results}
    assert len(looks) == 2
    ax.figure.canvas.draw()


@pytest.mark.parametrize("curve", CURVES)
def test_curves_draw_one_result_where_told(curve):
    _, (left, right) = plt.subplots(1, 2)
    assert curve(make_result(), right) is right
    assert right.get_legend() is None
    assert not left.lines
    assert curve(make_result(), ax=None) not in (left, right)


def test_precision_recall_curve_shows_the_numbers():
    result = make_result()
    line, lead, dot = plots.precision_recall_curve(result).get_lines()
    assert np.array_equal(line.get_xdata(), result.precision_recall.recall)
    assert np.array_equal(line.get_ydata(), result.precision_recall.precision)
    assert lead.get_xydata().tolist() == [[0, line.get_ydata()[0]], [line.get_xdata()[0], line.get_ydata()[0]]]
    assert dot.get_xydata().tolist() == [[result.precision_recall.recall[2], result.precision_recall.precision[2]]]


def test_precision_recall_curve_leaves_out_radii_whose_balls_are_all_empty():
    evaluator = HammingRetrievalEvaluator(8)
    evaluator.add_database(-torch.ones(3, 8), torch.arange(3))
    evaluator.add_queries(torch.tensor([[1.0] * 5 + [-1.0] * 3]), torch.tensor([1]))  # everything lies at distance 5
    line, lead = plots.precision_recall_curve(evaluator.compute()).get_lines()  # no dot: nothing is within radius 2
    np.testing.assert_allclose(line.get_xydata(), [[1, 1 / 3]] * 4)
    assert list(lead.get_xdata()) == [0, 1]


def test_precision_at_n_shows_the_numbers():
    result = make_result(top_k=30)
    ax = plots.precision_at_n(result)
    (line,) = ax.get_lines()
    assert np.array_equal(line.get_xdata(), np.arange(1, 31))
    assert np.array_equal(line.get_ydata(), result.precision_at_n)
    assert ax.get_xlim() == (0, 30)


def test_precision_within_radius_shows_the_numbers():
    result = make_result(radius=3)
    ax = plots.precision_within_radius({"short": make_result(8), "long": result})
    *_, line, dot = ax.get_lines()
    assert np.array_equal(line.get_xdata(), np.arange(17))
    assert np.array_equal(line.get_ydata(), result.precision_within_radius)
    assert dot.get_xydata().tolist() == [[3, result.precision_within_radius[3]]]
    assert ax.get_xlim() == (0, 16)


@pytest.mark.parametrize("curve", CURVES)
def test_a_radius_beyond_the_bits_has_everything_inside(curve):
    result = make_result(radius=99)
    ax = curve(result)
    dots = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert all(dot.get_ydata()[0] == pytest.approx(0.2) for dot in dots)  # 5 classes of one size
    assert plots.precision_by_bits({16: result}, radius=99).get_lines()[0].get_ydata() == pytest.approx([0.2])


def test_precision_by_bits_shows_the_numbers_in_order():
    by_bits = {32: make_result(32), 8: make_result(8), 16: make_result(16)}
    (line,) = plots.precision_by_bits(by_bits, radius=1).get_lines()
    assert list(line.get_xdata()) == [8, 16, 32]
    assert list(line.get_ydata()) == [float(by_bits[n_bits].precision_within_radius[1]) for n_bits in (8, 16, 32)]
    ax = plots.precision_by_bits({"CSQ": by_bits, "other": {16: make_result(16, noise=0.3)}})
    assert legend_of(ax) == ["CSQ", "other"]
    assert ax.get_xticks().tolist() == [8, 16, 32]
    assert ax.get_ylabel() == "precision within radius 2"


@pytest.mark.parametrize("curve", CURVES)
def test_curves_refuse_what_is_no_result(curve):
    with pytest.raises(TypeError, match=r"results must be a RetrievalResult or \{name: RetrievalResult\}, got list"):
        curve([make_result()])
    with pytest.raises(TypeError, match="got float under 'CSQ'"):
        curve({"CSQ": 0.9})
    with pytest.raises(ValueError, match="got an empty mapping"):
        curve({})


def test_precision_by_bits_takes_one_result_and_an_axes():
    result = make_result(16)
    precision = float(result.precision_within_radius[2])
    _, ax = plt.subplots()
    assert plots.precision_by_bits(result, ax) is ax
    assert ax.get_lines()[0].get_xydata().tolist() == [[16, precision]]
    assert plots.precision_by_bits({np.int64(16): result}).get_lines()[0].get_xdata().tolist() == [16]
    named = plots.precision_by_bits({"CSQ": result, "other": make_result(8)})
    assert legend_of(named) == ["CSQ", "other"]
    assert [line.get_xdata().tolist() for line in named.get_lines()] == [[16], [8]]


def test_precision_by_bits_refuses_what_does_not_fit():
    result = make_result()
    with pytest.raises(TypeError, match=r"results must be \{n_bits: RetrievalResult\} or .*, got list"):
        plots.precision_by_bits([result])
    with pytest.raises(TypeError, match="got str under 16"):
        plots.precision_by_bits({"CSQ": {16: "good"}})
    with pytest.raises(ValueError, match="got an empty mapping"):
        plots.precision_by_bits({"CSQ": {}})
    with pytest.raises(ValueError, match="key 32 holds a result of n_bits=16"):
        plots.precision_by_bits({32: result})
    with pytest.raises(ValueError, match="radius must be at least 0, got -1"):
        plots.precision_by_bits({16: result}, radius=-1)


def slow_mean_distances(codes, labels, centers):
    """Mean over the codes that carry label i of the number of bits in which they differ from center j."""
    n_classes = len(centers)
    means = np.zeros((n_classes, n_classes))
    for i in range(n_classes):
        rows = [row for row, label in zip(codes, labels, strict=True) if (label[i] if label.ndim else label == i)]
        for j in range(n_classes):
            means[i, j] = np.mean([sum(int(a != b) for a, b in zip(row, centers[j], strict=True)) for row in rows])
    return means


@pytest.mark.parametrize("form", ["float", "numpy", "bool", "packed"])
def test_heatmap_shows_mean_distances(form):
    codes, labels, centers = make_codes(60, noise=0.2)
    given = {"float": codes, "numpy": codes.numpy(), "bool": codes > 0, "packed": pack(codes)}[form]
    ax = plots.center_distance_heatmap(given, labels, centers)
    expected = slow_mean_distances(codes, labels, centers)
    np.testing.assert_allclose(ax.images[0].get_array(), expected, atol=1e-5)
    assert [text.get_text() for text in ax.texts] == [f"{value:.1f}" for value in expected.flatten()]
    # Row i is the codes of class i: the numbers stand in the cells they belong to.
    assert [text.get_position() for text in ax.texts[:3]] == [(0, 0), (1, 0), (2, 0)]
    assert ax.get_ylabel() == "codes of class"
    ax.figure.canvas.draw()


def test_heatmap_of_multi_hot_labels():
    codes, _, centers = make_codes(60, noise=0.2)
    labels = torch.randint(0, 2, (60, 5))
    ax = plots.center_distance_heatmap(codes, labels, centers)
    np.testing.assert_allclose(ax.images[0].get_array(), slow_mean_distances(codes, labels, centers), atol=1e-5)


def test_heatmap_draws_the_first_classes_that_have_codes():
    codes, labels, centers = make_codes(60, n_classes=12)
    kept = labels % 2 == 1  # classes 1, 3, 5, ...
    ax = plots.center_distance_heatmap(codes[kept], labels[kept], centers, max_classes=3)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "3", "5"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "3", "5"]
    assert ax.images[0].get_array().shape == (3, 3)
    assert ax.images[0].get_array().diagonal().max() < 5


def test_heatmap_prints_no_number_too_small_to_read():
    codes, labels, centers = make_codes(60, n_classes=12)
    _, ax = plt.subplots(figsize=(0.8, 0.8))
    assert not plots.center_distance_heatmap(codes, labels, centers, ax).texts
    assert len(plots.center_distance_heatmap(codes, labels, centers).texts) == 144


def test_heatmap_labels_are_inside_the_picture():
    codes, labels, centers = make_codes(80, n_classes=20)
    ax = plots.center_distance_heatmap(codes, labels, centers)
    ax.figure.canvas.draw()
    box, canvas = ax.get_tightbbox(), ax.figure.bbox
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= canvas.x1
    assert box.y1 <= canvas.y1


def test_heatmap_refuses_what_does_not_fit():
    codes, labels, centers = make_codes(10)
    with pytest.raises(ValueError, match="labels must have one row a sample: 10 samples"):
        plots.center_distance_heatmap(codes, labels[:9], centers)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.4"):
        plots.center_distance_heatmap(codes, labels + 1, centers)
    with pytest.raises(ValueError, match="labels give no code a class"):
        plots.center_distance_heatmap(codes, torch.zeros(10, 5), centers)
    with pytest.raises(ValueError, match="n_bits=16"):
        plots.center_distance_heatmap(codes[:, :8], labels, centers)
    with pytest.raises(ValueError, match="max_classes must be at least 1, got 0"):
        plots.center_distance_heatmap(codes, labels, centers, max_classes=0)


def points_by_class(ax):
    return {points.get_label(): points.get_offsets() for points in ax.collections}


def test_codes_in_2d_keeps_neighbours_together():
    codes, labels, _ = make_codes(150, noise=0.05)
    groups = points_by_class(plots.codes_in_2d(codes, labels))
    assert sorted(groups) == ["0", "1", "2", "3", "4"]
    assert all(len(points) == 30 for points in groups.values())
    middles = np.array([points.mean(0) for points in groups.values()])
    for middle, points in zip(middles, groups.values(), strict=True):
        nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(1)
        assert (middles[nearest] == middle).all(1).mean() > 0.95


def test_codes_in_2d_takes_every_form_of_codes_and_depends_on_the_seed():
    codes, labels, _ = make_codes(40, n_bits=12, n_classes=2)
    axes = [
        plots.codes_in_2d(codes, labels),
        plots.codes_in_2d(codes.numpy(), labels.numpy()),
        plots.codes_in_2d(pack(codes), labels),  # its 4 unused bits change no distance
    ]
    first, *others = (points_by_class(ax)["0"] for ax in axes)
    assert all(np.array_equal(first, other) for other in others)
    assert not np.array_equal(first, points_by_class(plots.codes_in_2d(codes, labels, seed=1))["0"])


def test_codes_in_2d_gives_every_class_its_share():
    labels = torch.tensor([7] * 60 + [1] * 30 + [3] * 10)[torch.randperm(100)]
    codes = torch.randn(100, 16)
    groups = points_by_class(plots.codes_in_2d(codes, labels, max_items=20))
    assert {name: len(points) for name, points in groups.items()} == {"1": 6, "3": 2, "7": 12}


def test_codes_in_2d_spreads_equal_codes_by_less_than_a_bit():
    added = plots._part_of_a_bit(50, seed=0)
    assert np.array_equal(added, added.T)
    assert not added.diagonal().any()
    off = added[np.triu_indices(50, 1)]
    assert off.min() >= 0
    assert off.max() < 1
    assert off.mean() == pytest.approx(0.5, abs=0.05)
    codes = torch.zeros(30, 16, dtype=torch.bool)
    (points,) = points_by_class(plots.codes_in_2d(codes, torch.zeros(30, dtype=torch.int64))).values()
    assert len(np.unique(points, axis=0)) == 30


@pytest.mark.parametrize(("n_classes", "columns"), [(10, 1), (11, 2), (20, 2)])
def test_codes_in_2d_has_a_legend_of_up_to_twenty_classes(n_classes, columns):
    codes, labels, _ = make_codes(2 * n_classes, n_classes=n_classes)
    ax = plots.codes_in_2d(codes, labels)
    assert legend_of(ax) == [str(label) for label in range(n_classes)]
    assert ax.get_legend()._ncols == columns
    looks = {
        (tuple(points.get_facecolor()[0]), len(points.get_paths()[0].vertices), i // 10)
        for i, points in enumerate(ax.collections)
    }
    assert len(looks) == n_classes


def test_codes_in_2d_writes_more_classes_beside_their_points():
    codes, labels, _ = make_codes(42, n_classes=21)
    ax = plots.codes_in_2d(codes, labels)
    assert ax.get_legend() is None
    assert sorted(int(text.get_text()) for text in ax.texts) == list(range(21))


def test_codes_in_2d_refuses_what_does_not_fit():
    codes, labels, _ = make_codes(10)
    with pytest.raises(ValueError, match=r"one class index a code: 10 codes, labels of shape \(9,\)"):
        plots.codes_in_2d(codes, labels[:9])
    with pytest.raises(ValueError, match=r"one class index a code: 10 codes, labels of shape \(10, 5\)"):
        plots.codes_in_2d(codes, torch.eye(5)[labels])
    with pytest.raises(TypeError, match="codes must be a torch tensor or a numpy array, got list"):
        plots.codes_in_2d(codes.tolist(), labels)
    with pytest.raises(ValueError, match="needs at least 3 codes, got 2"):
        plots.codes_in_2d(codes[:2], labels[:2])
    with pytest.raises(ValueError, match="max_items must be at least 3, got 2"):
        plots.codes_in_2d(codes, labels, max_items=2)
    with pytest.raises(ValueError, match="must have shape"):
        plots.codes_in_2d(codes[0], labels)


def test_inputs_stay_as_they_were():
    codes, labels, centers = make_codes(30)
    before = codes.clone(), labels.clone(), centers.clone()
    plots.center_distance_heatmap(codes, labels, centers)
    plots.codes_in_2d(codes, labels)
    assert all(torch.equal(old, new) for old, new in zip(before, (codes, labels, centers), strict=True))


def test_read_only_packed_codes_are_fine():
    codes, labels, centers = make_codes(30)
    packed = pack(codes).numpy()
    packed.setflags(write=False)
    assert isinstance(plots.center_distance_heatmap(packed, labels, centers), Axes)
    assert isinstance(plots.codes_in_2d(packed, labels), Axes)


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'plots need matplotlib: pip install "hashcenters\[plots\]"'):
        runpy.run_path(plots.__file__)


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    codes, labels, _ = make_codes(10)
    with pytest.raises(ImportError, match=r'codes_in_2d needs scikit-learn: pip install "hashcenters\[plots\]"'):
        plots.codes_in_2d(codes, labels)


def test_center_distances_are_counted_pair_by_pair():
    centers = HashCenterGenerator(20, method="paper", seed=3)(30)
    before = centers.clone()
    histogram, matrix = plots.center_distances(centers)
    pairs = [int((a != b).sum()) for i, a in enumerate(centers) for b in centers[:i]]
    assert [int(bar.get_height()) for bar in histogram.patches] == [pairs.count(d) for d in range(21)]
    assert [bar.get_x() + bar.get_width() / 2 for bar in histogram.patches] == list(range(21))
    drawn = matrix.images[0].get_array()
    assert drawn.tolist() == [[int((a != b).sum()) for b in centers] for a in centers]
    assert torch.equal(centers, before)
    labels = [text.get_text() for text in histogram.get_legend().get_texts()]
    report = center_report(centers)
    assert labels == ["n_bits / 2", f"upper bound {report.upper_bound}", f"least distance {report.min_distance}"]
    plt.close("all")


def test_center_distances_of_optimal_and_of_the_first_classes():
    _, axes = plt.subplots(1, 2)
    histogram, matrix = plots.center_distances(HashCenterGenerator(16)(100), (axes[0], axes[1]), max_classes=40)
    assert (histogram, matrix) == (axes[0], axes[1])
    assert matrix.images[0].get_array().shape == (40, 40)
    optimal, _ = plots.center_distances(HashCenterGenerator(16)(100))
    assert optimal.get_legend().get_texts()[1].get_text() == "least distance = upper bound 6"
    plt.close("all")


def test_all_centers_count_where_the_matrix_shows_some():
    centers = HashCenterGenerator(12, method="bernoulli")(1000).repeat(3, 1)
    histogram, matrix = plots.center_distances(centers, max_classes=50)
    assert sum(bar.get_height() for bar in histogram.patches) == 3000 * 2999 / 2
    assert histogram.get_legend().get_texts()[2].get_text() == "least distance 0"
    assert matrix.get_xlabel() == "class (the first 50 of 3,000)"


def test_center_distances_need_two_axes():
    with pytest.raises(TypeError, match="axes must be two Axes, of the histogram and of the matrix, got"):
        plots.center_distances(torch.ones(3, 8), plt.gca())


def test_center_distances_need_two_centers():
    with pytest.raises(ValueError, match=r"centers must be two at least to have distances, got shape \(1, 8\)"):
        plots.center_distances(torch.ones(1, 8))
    with pytest.raises(ValueError, match="max_classes must be at least 2, got 1"):
        plots.center_distances(torch.ones(3, 8), max_classes=1)


def make_pictures(*rows):
    return [[np.full((6 + i, 9, 3), 40 * i, dtype=np.uint8) for i in range(count)] for count in rows]


def test_neighbors_are_marked_without_colour_too():
    queries, neighbors = make_pictures(2)[0], make_pictures(3, 2)
    relevant = [[True, False, True], [False, True]]
    axes = plots.neighbor_grid(queries, neighbors, relevant, shared=[[2, 0, 1], [0, 3]], captions=["$a$ <b>", "c"])
    assert axes.shape == (2, 4)
    for row, line in enumerate(relevant):
        for ax, right, image in zip(axes[row, 1:], line, neighbors[row], strict=False):
            assert [text.get_text() for text in ax.texts] == ["✓" if right else "✗"]
            assert ax.spines["left"].get_linestyle() == ("-" if right else "--")
            assert np.array_equal(ax.images[0].get_array(), image)
    assert [ax.get_xlabel() for ax in axes.flat] == ["query", "2", "0", "1", "query", "0", "3", ""]
    assert [axes[row, 0].texts[0].get_text() for row in range(2)] == ["$a$ <b>", "c"]
    assert not axes[1, 3].axison
    axes[0, 0].figure.canvas.draw()  # the dollars are no formula


def test_neighbors_are_drawn_where_told_and_a_missing_picture_says_so():
    _, axes = plt.subplots(1, 2, squeeze=False)
    grey = np.zeros((4, 4), dtype=np.uint8)
    assert plots.neighbor_grid([grey], [[None]], torch.tensor([[True]]), axes=axes) is axes
    assert [text.get_text() for text in axes[0, 1].texts] == ["no picture", "✓"]
    assert axes[0, 1].get_xlabel() == ""
    assert axes[0, 0].images[0].get_clim() == (0, 255)
    axes[0, 0].figure.canvas.draw()


def test_neighbors_need_sizes_that_go_together():
    queries, neighbors = make_pictures(2)[0], make_pictures(2, 1)
    relevant = [[True, True], [False]]
    with pytest.raises(ValueError, match="queries must hold at least one picture, got none"):
        plots.neighbor_grid([], [], [])
    with pytest.raises(ValueError, match="neighbors must have one row a query: 2 queries, 1 rows"):
        plots.neighbor_grid(queries, neighbors[:1], relevant)
    with pytest.raises(
        ValueError, match=r"relevant must have a value for each neighbor: rows of \[2, 1\], got .*\[2\]"
    ):
        plots.neighbor_grid(queries, neighbors, relevant[:1])
    with pytest.raises(ValueError, match=r"shared must have a value for each neighbor: rows of \[2, 1\]"):
        plots.neighbor_grid(queries, neighbors, relevant, shared=[[1, 1], [0, 0]])
    with pytest.raises(ValueError, match="captions must be one a query: 2 queries, 3 captions"):
        plots.neighbor_grid(queries, neighbors, relevant, captions=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"axes must be an array \(2, 3\) of Axes, got shape \(2, 2\)"):
        plots.neighbor_grid(queries, neighbors, relevant, axes=plt.subplots(2, 2)[1])
