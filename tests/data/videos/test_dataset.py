import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import hashcenters.data.videos.dataset as module
from clips import number_in, numbered_clip
from hashcenters.data.items import ItemList, ItemSplits
from hashcenters.data.videos import (
    VideoDataset,
    VideoReadError,
    csq_clip_transform,
    frame_counts,
    plain_clip_transform,
    unreadable_videos,
)

COUNTS = {"a/0.avi": 40, "a/1.avi": 31, "b/2.avi": 100, "b/3.avi": 12}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for path, n in COUNTS.items():
        (root / path).parent.mkdir(exist_ok=True)
        numbered_clip(root / path, n, fourcc="XVID", bframes=2)
    return root


@pytest.fixture
def videos(root):
    return _list(root, *COUNTS)


def _list(root, *paths):
    return ItemList(root, paths, torch.arange(len(paths)) % 2, ("run", "jump"))


def _as_is(clip):
    return clip


def _numbers(clip):
    """Frame numbers of a clip (3, T, H, W)."""
    return [number_in(frame.permute(1, 2, 0)) for frame in clip.unbind(1)]


def _dice(clip):
    """Three draws from each of the three global generators."""
    return torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()])  # noqa: NPY002


# ------------------------------------------------------------------------------------------------ what is returned


def test_a_clip_and_its_label_come_out(videos):
    dataset = VideoDataset(videos, _as_is)
    assert len(dataset) == 4
    clip, label = dataset[2]
    assert (clip.dtype, clip.shape) == (torch.uint8, (3, 16, 48, 128))
    assert (label.item(), label.dtype) == (0, torch.int64)
    assert dataset[1][1].item() == 1
    assert torch.equal(dataset[-2][0], clip)


def test_evaluation_takes_the_middle_or_evenly_spaced_clips(videos):
    assert _numbers(VideoDataset(videos, _as_is)[2][0]) == list(range(34, 65, 2))
    clips, _ = VideoDataset(videos, _as_is, length=4, stride=3, n_clips=3)[2]
    assert clips.shape == (3, 3, 4, 48, 128)
    assert [_numbers(clip) for clip in clips] == [[0, 3, 6, 9], [45, 48, 51, 54], [90, 93, 96, 99]]


def test_training_draws_windows(videos):
    dataset = VideoDataset(videos, _as_is, train=True, length=8)
    starts = set()
    for epoch in range(30):
        numbers = _numbers(dataset[epoch, 0][0])
        assert np.diff(numbers).tolist() == [2] * 7
        starts.add(numbers[0])
    assert min(starts) >= 0
    assert 25 >= max(starts) > 18
    assert len(starts) > 10


def test_several_training_clips_are_drawn_and_transformed_apart(videos):
    clips, _ = VideoDataset(videos, _as_is, train=True, n_clips=4)[0, 2]
    assert len({_numbers(clip)[0] for clip in clips}) > 1
    dice, _ = VideoDataset(videos, _dice, train=True, n_clips=4)[0, 2]
    assert len(set(dice.flatten().tolist())) == 12


@pytest.mark.parametrize(
    ("on_short", "numbers"),
    [
        ("loop", [0, 2, 4, 6, 8, 10, 0, 2, 4, 6, 8, 10, 0, 2, 4, 6]),
        ("hold", [0, 2, 4, 6, 8, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11]),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_short_videos_follow_the_policy(videos, on_short, numbers, train):
    assert _numbers(VideoDataset(videos, _as_is, on_short=on_short, train=train)[3][0]) == numbers


def test_short_videos_are_refused_by_path(root, videos):
    dataset = VideoDataset(videos, _as_is, on_short="stop")
    assert dataset[1][0].shape[1] == 16  # 31 frames are enough
    message = (
        r"video '.*b/3.avi' has 12 frames, a clip of length=16 at stride=2 needs 31; take shorter clips, leave it out "
        r"by splits.without\(\['b/3.avi'\]\), or choose on_short=\"loop\" or \"hold\""
    )
    with pytest.raises(VideoReadError, match=message):
        dataset[3]


def test_targets_take_the_place_of_labels(videos):
    targets = torch.arange(8.0).view(4, 2)
    assert VideoDataset(videos, _as_is, targets=targets)[1][1].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match=r"targets must have one row a video: 4 videos, targets of shape \(3,\)"):
        VideoDataset(videos, _as_is, targets=torch.zeros(3))
    with pytest.raises(ValueError, match=r"targets must have one row a video: 4 videos, targets of shape \(\)"):
        VideoDataset(videos, _as_is, targets=torch.tensor(0))


@pytest.mark.parametrize("make", [csq_clip_transform, plain_clip_transform])
def test_the_transforms_fit(videos, make):
    for train in (True, False):
        clip, _ = VideoDataset(videos, make(train, size=24), length=8, train=train)[0, 0]
        assert (clip.dtype, clip.shape) == (torch.float32, (3, 8, 24, 24))


# ------------------------------------------------------------------------------------------------------ randomness


def test_keys_with_an_epoch_depend_on_seed_epoch_and_index_alone(videos):
    dataset = VideoDataset(videos, csq_clip_transform(True, size=16), length=4, train=True, seed=5)
    torch.manual_seed(1)
    first = dataset[2, 0][0]
    assert torch.equal(dataset[2, -4][0], first)
    dataset[7, 1]
    torch.manual_seed(2)
    assert torch.equal(dataset[2, 0][0], first)
    for other in (
        dataset[3, 0][0],
        VideoDataset(videos, csq_clip_transform(True, size=16), length=4, train=True, seed=6)[2, 0][0],
    ):
        assert not torch.equal(other, first)


def test_the_global_generators_are_put_back(videos):
    dataset = VideoDataset(videos, _dice, train=True)
    state = torch.default_generator.get_state(), random.getstate()
    dataset[0, 0]
    assert torch.equal(torch.default_generator.get_state(), state[0])
    assert random.getstate() == state[1]
    torch.manual_seed(4)
    first = dataset[0][0][0]
    torch.manual_seed(4)
    assert dataset[0][0][0] == first
    assert dataset[0][0][0] != first


class _Keys:
    """Sampler of keys (epoch, index)."""

    def __init__(self, epoch, order):
        self.keys = [(epoch, index) for index in order]

    def __iter__(self):
        return iter(self.keys)

    def __len__(self):
        return len(self.keys)


@pytest.mark.parametrize("context", [None, pytest.param("spawn", marks=pytest.mark.slow)])
def test_any_number_of_workers_reads_the_same(videos, context):
    dataset = VideoDataset(videos, plain_clip_transform(True, size=16), length=4, train=True, seed=3)
    order = [2, 0, 3, 1]
    alone = torch.stack([dataset[1, index][0] for index in order])
    for n_workers in (0, 2):
        options = {"multiprocessing_context": context} if n_workers and context else {}
        loader = DataLoader(dataset, batch_size=2, sampler=_Keys(1, order), num_workers=n_workers, **options)
        clips, labels = zip(*loader, strict=True)
        assert torch.equal(torch.cat(clips), alone)
        assert torch.cat(labels).tolist() == [0, 0, 1, 1]


# ------------------------------------------------------------------------------------------------- counts and trouble


def test_frames_are_counted_once_or_not_at_all(videos, monkeypatch):
    counted = []

    def count(path):
        counted.append(path.replace("\\", "/")[-7:])
        return COUNTS[counted[-1]]

    monkeypatch.setattr(module, "count_frames", count)
    dataset = VideoDataset(videos, _as_is, train=True, length=4)
    for epoch in range(3):
        for index in (0, 2):
            dataset[epoch, index]
    assert counted == ["a/0.avi", "b/2.avi"]
    given = {"a/0.avi": 40, "a/1.avi": 31}
    dataset = VideoDataset(videos, _as_is, length=4, counts=given)
    for index in range(3):
        dataset[index]
    assert counted == ["a/0.avi", "b/2.avi", "b/2.avi"]
    assert given == {"a/0.avi": 40, "a/1.avi": 31}  # the caller's own


def test_counts_that_the_file_does_not_hold_are_reported(videos):
    dataset = VideoDataset(videos, _as_is, counts={"a/0.avi": 400})
    with pytest.raises(VideoReadError, match=r"a/0.avi' ends after 40 frames .* renew stored counts if the file has"):
        dataset[0]


def test_a_count_of_zero_is_counted_again_and_gives_the_trouble(root):
    (root / "broken.avi").write_bytes(b"no video" * 100)
    videos = _list(root, "broken.avi")
    assert frame_counts(videos) == {"broken.avi": 0}
    dataset = VideoDataset(videos, _as_is, counts=frame_counts(videos))
    with pytest.raises(VideoReadError, match=r"video '.*broken.avi' cannot be read \(Invalid data"):
        dataset[0]


def test_broken_and_missing_videos_are_listed_and_left_out(root, videos):
    (root / "broken.avi").write_bytes((root / "a/0.avi").read_bytes()[:200])
    everything = _list(root, *COUNTS, "broken.avi", "missing.avi")
    for n_threads in (1, 4):
        assert unreadable_videos(everything, n_threads=n_threads) == ["broken.avi", "missing.avi"]
    assert frame_counts(everything) == {**COUNTS, "broken.avi": 0, "missing.avi": 0}
    splits = ItemSplits("tiny", everything, _list(root, "q.avi"), everything, 1)
    assert splits.without(unreadable_videos(everything)).train.paths == videos.paths
    with pytest.raises(VideoReadError, match=r"video '.*missing.avi' is missing"):
        VideoDataset(everything, _as_is)[5]
    for call in (frame_counts, unreadable_videos):
        with pytest.raises(ValueError, match="n_threads must be at least 1, got 0"):
            call(videos, n_threads=0)


@pytest.mark.slow  # torch waits five seconds for a worker whose sample failed
def test_the_error_of_a_worker_names_the_video(videos):
    missing = _list(videos.root, "a/0.avi", "missing.avi")
    loader = DataLoader(VideoDataset(missing, _as_is, length=2), batch_size=2, num_workers=1)
    with pytest.raises(VideoReadError, match=r"video '.*missing.avi' is missing"):
        list(loader)


def test_iterating_stops_at_the_end_and_only_there(videos):
    assert [label.item() for _, label in VideoDataset(videos, _as_is, length=2)] == [0, 1, 0, 1]
    with pytest.raises(IndexError, match=r"index must lie in 0..3 \(n=4 videos\), got 4"):
        VideoDataset(videos, _as_is)[4]
    with pytest.raises(IndexError, match=r"got -5"):
        VideoDataset(videos, _as_is)[0, -5]


def test_the_data_set_is_picklable(videos):
    dataset = VideoDataset(videos, _as_is, length=4)
    clip = dataset[0][0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], clip)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"n_clips": 0}, ValueError, "n_clips must be at least 1, got 0"),
        ({"n_clips": 1.5}, TypeError, "n_clips must be an int, got 1.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"on_short": "skip"}, ValueError, 'on_short must be "loop", "hold" or "stop", got \'skip\''),
    ],
)
def test_bad_options_are_refused(videos, options, error, message):
    with pytest.raises(error, match=message):
        VideoDataset(videos, _as_is, **options)


def test_a_bad_epoch_is_refused(videos):
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        VideoDataset(videos, _as_is)[-1, 0]
