import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashcenters.data.videos import clip_indices, clip_span

sizes = {"length": st.integers(1, 20), "stride": st.integers(1, 5)}


def test_span_counts_from_first_to_last():
    assert clip_span(16, 2) == 31
    assert clip_span(1, 9) == 1
    for name in ("length", "stride"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            clip_span(**{"length": 2, "stride": 2, name: 0})
        with pytest.raises(TypeError, match=f"{name} must be an int, got 2.5"):
            clip_span(**{"length": 2, "stride": 2, name: 2.5})


@given(n_frames=st.integers(1, 120), how=st.sampled_from(["random", "center", "uniform"]), **sizes)
def test_a_long_enough_video_gives_plain_windows(n_frames, how, length, stride):
    n_frames += clip_span(length, stride)
    for short in ("loop", "hold", "stop"):
        indices = clip_indices(n_frames, length=length, stride=stride, how=how, short=short)
        assert (indices.dtype, indices.shape) == (torch.int64, (1, length))
        first = int(indices[0, 0])
        assert indices[0].tolist() == [first + k * stride for k in range(length)]
        assert first >= 0
        assert int(indices[0, -1]) < n_frames


@given(n_frames=st.integers(1, 60), n_clips=st.integers(1, 6), **sizes)
def test_short_videos_loop_or_hold(n_frames, n_clips, length, stride):
    options = {"length": length, "stride": stride, "how": "uniform", "n_clips": n_clips}
    looped, held = clip_indices(n_frames, **options), clip_indices(n_frames, **options, short="hold")
    if n_frames >= clip_span(length, stride):
        assert torch.equal(looped, held)
    else:
        assert looped.tolist() == [[k * stride % n_frames for k in range(length)]] * n_clips
        assert held.tolist() == [[min(k * stride, n_frames - 1) for k in range(length)]] * n_clips


def test_a_video_of_exactly_the_span_is_not_short():
    for how in ("random", "center", "uniform"):
        assert clip_indices(31, how=how, short="stop").tolist() == [list(range(0, 31, 2))]


def test_the_middle_leaves_as_many_frames_on_either_side():
    for n_frames in range(31, 60):
        indices = clip_indices(n_frames)[0]
        before, after = int(indices[0]), n_frames - 1 - int(indices[-1])
        assert 0 <= after - before <= 1
        assert torch.equal(clip_indices(n_frames, how="uniform")[0], indices)


def test_uniform_clips_reach_from_the_start_to_the_end():
    for n_clips in (2, 3, 5, 10):
        starts = clip_indices(100, how="uniform", n_clips=n_clips)[:, 0]
        assert (int(starts[0]), int(starts[-1])) == (0, 69)
        steps = starts.diff()
        assert int(steps.max() - steps.min()) <= 1


def test_random_windows_are_equally_likely_to_the_last():
    starts = clip_indices(36, how="random", n_clips=6000)[:, 0]
    counts = starts.bincount()
    assert len(counts) == 6  # 0..5; the released code never draws the last
    assert counts.min() > 850
    assert counts.max() < 1150


def test_random_windows_come_from_the_generator_given():
    def draw(seed):
        return clip_indices(500, how="random", n_clips=5, generator=torch.Generator().manual_seed(seed))

    state = torch.default_generator.get_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.default_generator.get_state(), state)
    torch.manual_seed(3)
    first = clip_indices(500, how="random")
    torch.manual_seed(3)
    assert torch.equal(clip_indices(500, how="random"), first)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_frames": 0}, ValueError, "n_frames must be at least 1, got 0"),
        ({"n_frames": 9.0}, TypeError, "n_frames must be an int, got 9.0"),
        ({"n_clips": 0}, ValueError, "n_clips must be at least 1, got 0"),
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"how": "middle"}, ValueError, 'how must be "random", "center" or "uniform", got \'middle\''),
        ({"short": "skip"}, ValueError, 'short must be "loop", "hold" or "stop", got \'skip\''),
        ({"n_clips": 2}, ValueError, 'n_clips must be 1 for how="center", got 2; how="uniform" spreads several'),
        (
            {"short": "stop", "n_frames": 30},
            ValueError,
            "n_frames must be at least 31 for a clip of length=16 at stride=2, got 30; take shorter clips, leave the "
            'video out, or choose short="loop" or "hold"',
        ),
    ],
)
def test_bad_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        clip_indices(**{"n_frames": 100, **options})
