import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.centers import HashCenterGenerator, majority_vote, multilabel_centers, tie_table
from references import semantic_center_by_loop


def multi_hot(n_rows, n_classes, seed=0, share=0.05):
    """Random label sets, every row with at least one class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.rand(n_rows, n_classes, generator=random) < share
    labels[torch.arange(n_rows), torch.randint(n_classes, (n_rows,), generator=random)] = True
    return labels


def by_loop(labels, centers, table):
    return torch.tensor([semantic_center_by_loop(row.nonzero()[:, 0].tolist(), centers, table) for row in labels])


def test_equals_a_per_sample_loop():
    labels, centers = multi_hot(1000, 80), HashCenterGenerator(64)(80)
    assert (labels.sum(dim=1) % 2 == 0).sum() > 300
    expected = by_loop(labels, centers, tie_table(80, 64, seed=4))
    for dtype in (torch.bool, torch.int64, torch.float32, torch.uint8, torch.bfloat16):
        targets = multilabel_centers(labels.to(dtype), centers, seed=4)
        assert targets.dtype == torch.float32
        assert torch.equal(targets, expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12), st.integers(0, 2**32))
def test_equals_the_loop_at_small_sizes(n_classes, n_bits, n_rows, seed):
    labels = multi_hot(n_rows, n_classes, seed, share=0.5)
    centers = torch.randint(2, (n_classes, n_bits), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    expected = by_loop(labels, centers, tie_table(n_classes, n_bits, seed=seed)).reshape(n_rows, n_bits)
    assert torch.equal(multilabel_centers(labels, centers, seed=seed), expected)


def test_one_class_is_its_center():
    centers = HashCenterGenerator(16)(20)
    assert torch.equal(multilabel_centers(torch.eye(20), centers), centers)
    classes = torch.tensor([3, 0, 19])
    for dtype in (torch.int64, torch.int32, torch.uint8):
        assert torch.equal(multilabel_centers(classes.to(dtype), centers), centers[classes])


@pytest.mark.parametrize("cast", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_exact_in_half_precision(cast, autocast):
    """Votes and coins of up to 600 classes: half precision rounds integers beyond 256 (bf16) or 2048 (fp16)."""
    labels, centers = multi_hot(6, 600, share=0.9), HashCenterGenerator(24)(600)
    expected = by_loop(labels, centers, tie_table(600, 24))
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        assert torch.equal(multilabel_centers(labels, centers.to(cast)), expected)


def test_exact_whatever_the_precision_of_matrix_products():
    labels, centers = multi_hot(6, 600, share=0.9), HashCenterGenerator(24)(600)
    expected = multilabel_centers(labels, centers)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(multilabel_centers(labels, centers), expected)
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_set_has_one_center_wherever_it_stands():
    labels, centers = multi_hot(200, 12, share=0.3), HashCenterGenerator(16)(12)
    targets = multilabel_centers(labels, centers, seed=1)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(multilabel_centers(labels[order], centers, seed=1), targets[order])
    assert torch.equal(multilabel_centers(labels[17:18], centers, seed=1), targets[17:18])


def test_coins_are_fair_and_of_two_sets_independent():
    """All 255 non-empty sets of 8 classes, 4096 bits."""
    subsets = torch.tensor([[i >> c & 1 for c in range(8)] for i in range(1, 256)])
    coins = (subsets.double() @ tie_table(8, 4096).double()) % 2
    deviation = 0.5 / math.sqrt(coins.shape[1])
    assert ((coins.mean(dim=1) - 0.5).abs() < 5 * deviation).all()
    signs = 2 * coins - 1
    correlation = (signs @ signs.T) / coins.shape[1]
    correlation.fill_diagonal_(0)
    assert correlation.abs().max() < 6 / math.sqrt(coins.shape[1])


def test_drawn_bits_of_targets_are_fair_whatever_the_centers():
    centers = torch.tensor([[1.0], [-1.0]]).expand(2, 3).contiguous()
    targets = torch.cat([multilabel_centers(torch.ones(1, 2), centers, seed=seed) for seed in range(1000)])
    assert (targets.mean(dim=0).abs() < 4 / math.sqrt(1000)).all()


def test_table_rows_depend_on_their_class_only_and_on_the_seed():
    assert torch.equal(tie_table(80, 70, seed=3)[:5], tie_table(5, 70, seed=3))
    assert not torch.equal(tie_table(5, 70, seed=3), tie_table(5, 70, seed=4))
    assert tie_table(2, 8, seed=7).tolist() == [[1, 0, 0, 1, 1, 1, 1, 0], [1, 1, 0, 1, 1, 1, 1, 1]]


def test_seed_moves_draws_and_nothing_else():
    labels, centers = multi_hot(300, 10, share=0.3), HashCenterGenerator(16)(10)
    one, two = multilabel_centers(labels, centers, seed=0), multilabel_centers(labels, centers, seed=1)
    moved = one != two
    assert moved.any()
    assert not moved[(labels.float() @ centers) != 0].any()


def test_draws_a_sample():
    labels = torch.tensor([[1, 1, 0]]).repeat(400, 1)
    centers = torch.tensor([[1.0] * 8 + [-1.0], [-1.0] * 8 + [-1.0], [1.0] * 9])
    targets = multilabel_centers(labels, centers, seed=5, ties="sample")
    assert torch.equal(targets, multilabel_centers(labels, centers, seed=5, ties="sample"))
    assert not torch.equal(targets, multilabel_centers(labels, centers, seed=6, ties="sample"))
    assert (targets[:, 8] == -1).all()
    assert (targets[:, :8].mean(dim=0).abs() < 4 / math.sqrt(400)).all()
    assert torch.equal(targets[:9], multilabel_centers(labels[:9], centers, seed=5, ties="sample"))
    assert (multilabel_centers(labels, centers, seed=5) == multilabel_centers(labels[:1], centers, seed=5)).all()
    # The coins of samples are not the table of classes.
    agreement = ((targets[:, :8] > 0) == (tie_table(400, 9, seed=5)[:, :8] > 0)).double().mean()
    assert abs(agreement - 0.5) < 5 * 0.5 / math.sqrt(400 * 8)


def test_draws_shared_by_all():
    """Every draw at a bit ends alike, whatever the classes and the sample; what is no draw stays."""
    labels, centers = multi_hot(500, 30, share=0.1), HashCenterGenerator(64)(30)
    targets = multilabel_centers(labels, centers, seed=5, ties="shared")
    votes = labels.float() @ centers
    assert torch.equal(targets[votes != 0], votes[votes != 0].sign())
    drawn = torch.where(votes == 0, targets, 0.0)
    assert torch.equal(drawn.amax(dim=0) > 0, drawn.amin(dim=0) == 0)
    assert 0.25 < (drawn.amax(dim=0) > 0).double().mean() < 0.75
    assert torch.equal(targets[7:9], multilabel_centers(labels[7:9], centers, seed=5, ties="shared"))
    assert not torch.equal(targets, multilabel_centers(labels, centers, seed=6, ties="shared"))
    assert multilabel_centers(labels[:0], centers, ties="shared").shape == (0, 64)


def test_works_compiled():
    labels, centers = multi_hot(40, 12, share=0.3), HashCenterGenerator(16)(12)
    compiled = torch.compile(majority_vote, fullgraph=True, backend="aot_eager")
    for seed in (2, 3):
        table = tie_table(12, 16, seed=seed)
        assert torch.equal(compiled(labels, centers, table), multilabel_centers(labels, centers, seed=seed))
    labels[3] = False
    with pytest.raises(RuntimeError, match="every row of labels must have at least one class"):
        compiled(labels, centers, table)


def test_inputs_stay():
    labels, centers = multi_hot(20, 6).float(), HashCenterGenerator(8)(6)
    table = tie_table(6, 8).float()
    before = [x.clone() for x in (labels, centers, table)]
    multilabel_centers(labels, centers)
    multilabel_centers(labels, centers, ties="sample")
    multilabel_centers(labels, centers, ties="shared")
    majority_vote(labels, centers, table)
    assert all(torch.equal(x, y) for x, y in zip((labels, centers, table), before, strict=True))


def test_rows_without_labels_are_named():
    labels, centers = multi_hot(20, 6), HashCenterGenerator(8)(6)
    labels[[4, 11]] = False
    message = "every row of labels must have at least one class: 2 of 20 rows have none (row 4, 11); drop these samples"
    for ties in ("label_set", "sample", "shared"):
        with pytest.raises(ValueError, match=re.escape(message)):
            multilabel_centers(labels, centers, ties=ties)
    labels[:9] = False
    with pytest.raises(ValueError, match=re.escape("10 of 20 rows have none (row 0, 1, 2, 3, 4, ...)")):
        multilabel_centers(labels, centers)


def test_bad_input_is_refused():
    centers = HashCenterGenerator(8)(6)
    with pytest.raises(ValueError, match="ties must be one of 'label_set', 'sample', 'shared', got 'none'"):
        multilabel_centers(torch.ones(1, 6), centers, ties="none")
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.5"):
        multilabel_centers(torch.tensor([6]), centers)
    with pytest.raises(ValueError, match="multi-hot labels must hold only 0 and 1"):
        multilabel_centers(torch.full((2, 6), 2), centers)
    with pytest.raises(ValueError, match="centers must hold only -1 and"):
        multilabel_centers(torch.ones(1, 6), centers * 0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        multilabel_centers(torch.ones(1, 6), centers, seed=-1)
    with pytest.raises(ValueError, match="n_classes must be at least 1"):
        tie_table(0, 8)
