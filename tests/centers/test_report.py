import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, assign_centers, center_report, semantic_centers
from hashcenters.centers.bounds import max_min_distance


def centers_of(n_classes, n_bits, seed):
    return torch.from_numpy(np.where(np.random.default_rng(seed).random((n_classes, n_bits)) < 0.5, 1.0, -1.0))


@given(st.integers(2, 40), st.integers(1, 70), st.integers(0, 1000))
def test_report_is_what_loops_count(n_classes, n_bits, seed):
    centers = centers_of(n_classes, n_bits, seed)
    before = centers.clone()
    report = center_report(centers)
    distances = [int((a != b).sum()) for a, b in itertools.combinations(centers, 2)]
    assert (report.n_classes, report.n_bits) == (n_classes, n_bits)
    assert (report.min_distance, report.max_distance) == (min(distances), max(distances))
    assert report.mean_distance == pytest.approx(np.mean(distances), abs=1e-12)
    assert report.satisfies_definition_1 == (2 * sum(distances) >= n_bits * len(distances))
    assert report.bit_balance.tolist() == pytest.approx([float((column > 0).double().mean()) for column in centers.T])
    columns = {tuple((column * column[0]).tolist()) for column in centers.T}
    assert report.n_distinct_bits == len(columns - {(1.0,) * n_classes})
    assert report.is_optimal == (report.min_distance == report.upper_bound)
    if n_classes <= 2**n_bits:
        assert (report.upper_bound, report.bound_name) == max_min_distance(n_classes, n_bits)
        assert report.ratio == report.min_distance / report.upper_bound
    else:
        assert (report.upper_bound, report.bound_name, report.ratio) == (0, "pigeonhole", 1.0)
    assert report.construction == "given"
    assert report.seconds >= 0
    assert torch.equal(centers, before)


def test_one_center_has_no_pairs():
    report = center_report(torch.ones(1, 5))
    assert (report.min_distance, report.mean_distance, report.max_distance) == (5, 5.0, 5)
    assert (report.upper_bound, report.bound_name, report.is_optimal) == (5, "one class", True)
    assert report.satisfies_definition_1
    assert report.n_distinct_bits == 0

    assert "a single center has no pair" in str(report)


def test_more_classes_than_words_are_no_praise():
    assert "more classes than the 4 words: some must coincide" in str(center_report(torch.ones(5, 2)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_dtype_of_centers_is_taken(dtype):
    centers = HashCenterGenerator(16)(10)
    narrow = centers.to(dtype)
    assert center_report(narrow).min_distance == center_report(centers).min_distance
    similarity = torch.eye(10)
    similarity[0, 1] = 0.5
    assert torch.equal(assign_centers(narrow, similarity).float(), assign_centers(centers, similarity))
    assert torch.equal(
        HashCenterGenerator(16).extend(narrow, 2).centers.float(), HashCenterGenerator(16).extend(centers, 2).centers
    )
    shaped = semantic_centers(similarity, narrow, min_distance=4)
    assert shaped.dtype == dtype
    assert torch.equal(shaped.float(), semantic_centers(similarity, centers, min_distance=4))


def test_generator_reports_on_the_centers_it_makes():
    generator = HashCenterGenerator(24, seed=2)
    report, given_report = generator.report(30), center_report(generator(30))
    for name in ("min_distance", "mean_distance", "max_distance", "upper_bound", "n_distinct_bits"):
        assert getattr(report, name) == getattr(given_report, name)
    assert report.bit_balance.tolist() == given_report.bit_balance.tolist()
    assert report.construction != "given"
    assert HashCenterGenerator(24, method="paper").report(30).construction == "Algorithm 1, random halves"
    assert HashCenterGenerator(8, method="paper").report(8).construction == "Algorithm 1, rows of H"
    assert HashCenterGenerator(8, method="paper").report(9).construction == "Algorithm 1, rows of [H; -H]"


def test_table():
    lines = str(HashCenterGenerator(16).report(100)).splitlines()
    assert lines[0].startswith("100 centers of 16 bits: kerdock(16) (")
    assert lines[1].split() == ["min", "distance", "6", "optimal", "(at", "most", "6:", "plotkin)"]
    assert lines[2].split() == [
        "mean",
        "distance",
        "8.081",
        "at",
        "least",
        "n_bits",
        "/",
        "2",
        "=",
        "8",
        "(Definition",
        "1)",
    ]
    assert lines[4].split() == ["ones", "per", "bit", "50.0%"]
    uneven = str(center_report(torch.tensor([[1.0, 1, 1], [1, 1, -1], [1, -1, 1]])))
    assert "50% of the bound (at most 2: plotkin)" in uneven
    assert "below n_bits / 2 = 1.5 (Definition 1)" in uneven
    assert "66.7% to 100.0%" in uneven
    assert "2  of 3" in " ".join(uneven.split(" "))


def test_as_dict_is_flat():
    report = HashCenterGenerator(16).report(10)
    flat = report.as_dict()
    assert flat["min_distance"] == report.min_distance
    assert flat["bit_balance_min"] == flat["bit_balance_max"] == 0.5
    assert all(isinstance(value, (int, float, str, bool)) for value in flat.values())


def test_bad_centers_are_refused():
    with pytest.raises(TypeError, match="centers must be a floating-point tensor"):
        center_report(torch.ones(2, 2, dtype=torch.int8))
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        center_report(torch.zeros(2, 2))
