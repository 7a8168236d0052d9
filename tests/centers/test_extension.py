import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, extension
from hashcenters.centers.measures import satisfies_definition_1, to_signs
from hashcenters.centers.packing import climb, lower, pack


def least(centers):
    return min(int((a != b).sum()) for a, b in itertools.combinations(centers, 2))


@given(st.data())
@settings(max_examples=40)
def test_old_centers_stay_and_the_distance_is_told(data):
    n_bits = data.draw(st.integers(1, 40))
    n_old = data.draw(st.integers(1, min(2**n_bits - 1, 40)), label="n_old") if n_bits > 1 else 1
    n_new = data.draw(st.integers(1, min(2**n_bits - n_old, 20)))
    generator = HashCenterGenerator(n_bits, seed=data.draw(st.integers(0, 3)))
    centers = generator(n_old)
    before = centers.clone()
    extended = generator.extend(centers, n_new)
    assert torch.equal(centers, before)
    assert torch.equal(extended.centers[:n_old], centers)
    assert extended.centers.shape == (n_old + n_new, n_bits)
    assert extended.centers.dtype == centers.dtype
    assert extended.centers.abs().eq(1).all()
    assert extended.min_distance == least(extended.centers) > 0
    assert extended.previous_min_distance == (least(centers) if n_old > 1 else n_bits)
    assert extended.min_distance <= extended.upper_bound
    assert extended.satisfies_definition_1 == satisfies_definition_1(to_signs(extended.centers))
    assert torch.equal(extended.centers, generator.extend(centers, n_new).centers)


# The other words of the code that the old centers come from are found again.
@pytest.mark.parametrize(
    ("n_classes", "n_bits", "n_new", "distance"),
    [(10, 16, 22, 8), (100, 16, 156, 6), (60, 32, 4, 16), (100, 32, 28, 14), (100, 64, 28, 32), (200, 64, 56, 29)],
)
def test_the_code_is_completed(n_classes, n_bits, n_new, distance):
    generator = HashCenterGenerator(n_bits)
    assert generator.extend(generator(n_classes), n_new).min_distance == distance


# A code that holds the old centers is doubled until it is large enough.
@pytest.mark.parametrize(
    ("n_classes", "n_bits", "n_new", "distance"), [(100, 64, 400, 28), (200, 128, 300, 56), (300, 256, 300, 120)]
)
def test_larger_codes_around_the_old_centers_are_found(n_classes, n_bits, n_new, distance):
    generator = HashCenterGenerator(n_bits)
    extended = generator.extend(generator(n_classes), n_new)
    assert extended.min_distance >= distance
    assert len(torch.unique(extended.centers, dim=0)) == n_classes + n_new


def test_definition_1_is_kept_where_words_of_equal_distance_allow_it():
    generator = HashCenterGenerator(16)
    extended = generator.extend(generator(20), 80)
    assert extended.min_distance == 6
    assert extended.satisfies_definition_1


def test_too_few_candidates_are_reported(monkeypatch):
    monkeypatch.setattr(extension, "_candidates", lambda old, span, n_new, stream: old)
    monkeypatch.setattr(extension, "_grow", lambda *arguments: None)
    monkeypatch.setattr(extension, "_BUDGET", 0)
    with pytest.raises(RuntimeError, match="2 candidates hold fewer than n_new=3 new words; please report this"):
        HashCenterGenerator(30).extend(torch.stack([torch.ones(30), -torch.ones(30)]), 3)


def test_a_single_new_center_is_as_far_as_any_word():
    random = np.random.default_rng(0)
    for n_old in (3, 10, 40):
        centers = torch.from_numpy(np.where(random.random((n_old, 10)) < 0.5, 1.0, -1.0))
        every = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=10)), dtype=torch.float64)
        best = int(((10 - every @ centers.T) / 2).min(dim=1).values.max())
        extended = HashCenterGenerator(10).extend(centers, 1)
        new = int((extended.centers[:-1] != extended.centers[-1]).sum(dim=1).min())
        assert new >= min(best, extended.previous_min_distance or best)


def test_climbing_finds_more_than_random_words_have():
    centers = HashCenterGenerator(64, method="bernoulli")(100)
    generator = HashCenterGenerator(64)
    extended = generator.extend(centers, 1)
    new = int((extended.centers[:-1] != extended.centers[-1]).sum(dim=1).min())
    draws = HashCenterGenerator(64, method="bernoulli", seed=1)(2000)
    assert new >= min(int(((64 - draws @ centers.T) / 2).min(dim=1).values.max()), extended.previous_min_distance)


def test_equal_old_centers_do_not_pull_new_ones_together():
    extended = HashCenterGenerator(24).extend(torch.ones(3, 24), 2)
    assert extended.previous_min_distance == extended.min_distance == 0
    assert least(extended.centers[2:]) >= 12


def test_the_last_words_are_found(monkeypatch):
    monkeypatch.setattr(extension, "_ALL_BITS", 4)
    monkeypatch.setattr(extension, "_POOL", 4)
    for n_old, n_new in ((253, 3), (3, 253), (20, 30), (3, 12)):
        assert HashCenterGenerator(8).extend(HashCenterGenerator(8)(n_old), n_new).min_distance >= 1


def test_lower_and_pack_are_the_loops():
    random = np.random.default_rng(3)
    pool = random.integers(0, 2**63, (200, 2), dtype=np.uint64)
    bits = np.unpackbits(pool.view(np.uint8), axis=1)
    near = np.full(200, 60, dtype=np.int64)
    lower(pool, pool[5], near)
    assert near.tolist() == [min(60, int((row != bits[5]).sum())) for row in bits]
    for target in (50, 56, 62):
        chosen = np.empty(20, dtype=np.int64)
        count = pack(pool, near, target, chosen)
        taken = []
        for place, row in enumerate(bits):
            if len(taken) < 20 and near[place] >= target and all((row != bits[t]).sum() >= target for t in taken):
                taken.append(place)
        assert chosen[:count].tolist() == taken


@given(st.integers(1, 20), st.integers(3, 30), st.integers(0, 1000))
def test_climb_tells_the_truth(n_others, n_bits, seed):
    random = np.random.default_rng(seed)
    others = np.where(random.random((n_others, n_bits)) < 0.5, 1, -1).astype(np.int8)
    word = others[0].copy()
    target = n_bits // 3
    raw = random.integers(0, 2**63, 100, dtype=np.uint64)
    reached = climb(word, others, target, 100, raw)
    distances = (others != word).sum(axis=1)
    assert set(np.unique(word)) <= {-1, 1}
    assert not reached or distances.min() >= target
    if n_others == 1:
        assert reached


def test_bad_arguments_are_refused():
    generator = HashCenterGenerator(8)
    with pytest.raises(ValueError, match=r"centers must have n_bits=8 bits as the generator, got shape \(2, 7\)"):
        generator.extend(torch.ones(2, 7), 1)
    with pytest.raises(ValueError, match="n_new must be at least 1, got 0"):
        generator.extend(torch.ones(2, 8), 0)
    with pytest.raises(ValueError, match=r"n_new must leave room: 200 centers and n_new=57 are more than the 2\*\*8"):
        generator.extend(generator(200), 57)
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        generator.extend(torch.zeros(2, 8), 1)
