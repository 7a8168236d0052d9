import gc
import os
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from clips import (
    append_not_coded,
    number_in,
    numbered_clip,
    numbered_frames,
    pack_b_frames,
    picture_types,
    state_frames_in_avi,
    stated_frames,
    write_clip,
)
from hashcenters.data.videos import VideoReadError, count_frames, read_frames

KINDS = {
    "xvid.avi": {"fourcc": "XVID"},
    "xvid_b.avi": {"fourcc": "XVID", "bframes": 2},
    "dx50.avi": {"fourcc": "DX50"},
    "dx50_b.avi": {"fourcc": "DX50", "bframes": 3},
    "msmpeg4v2.avi": {"codec": "msmpeg4v2"},
    "msmpeg4v3.avi": {"codec": "msmpeg4"},
    "h264.mp4": {"codec": "h264", "bframes": 3},
    "h264_b.avi": {"codec": "h264", "bframes": 2},
    "h264.mkv": {"codec": "h264", "bframes": 2},
    "mjpeg.avi": {"codec": "mjpeg"},
    "mpeg1.mpg": {"codec": "mpeg1video", "bframes": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name, options in KINDS.items():
        numbered_clip(folder / name, 40, **options)
    numbered_clip(folder / "single_b.avi", 40, fourcc="DX50", bframes=1)
    pack_b_frames(folder / "single_b.avi", folder / "packed.avi")
    append_not_coded(folder / "xvid.avi", folder / "empty_end.avi", 2)
    return folder


def _numbers(frames):
    return [number_in(frame) for frame in frames]


# ------------------------------------------------------------------------------------------------------ exact frames


@pytest.mark.parametrize("name", [*KINDS, "packed.avi"])
def test_frames_are_exactly_those_asked_for(folder, name):
    path = folder / name
    assert count_frames(path) == 40
    for indices in ([0], [39], [20], [1, 2, 3], [38, 39], list(range(40)), [30, 5, 5, 0, 39], list(range(4, 35, 2))):
        frames = read_frames(path, indices)
        assert (frames.dtype, frames.shape) == (torch.uint8, (len(indices), 48, 128, 3))
        assert _numbers(frames) == indices


@pytest.mark.parametrize("name", ["xvid_b.avi", "dx50_b.avi", "h264.mp4", "h264_b.avi", "packed.avi"])
def test_those_files_hold_b_frames(folder, name):
    assert picture_types(folder / name).count("B") > 8


def test_the_files_carry_the_tags_of_their_names(folder):
    for name, tag in (("xvid.avi", "XVID"), ("dx50_b.avi", "DX50"), ("packed.avi", "DX50"), ("msmpeg4v3.avi", "MP43")):
        with av.open(str(folder / name)) as file:
            assert file.streams.video[0].codec_context.codec_tag == tag


@pytest.mark.parametrize("stated", [7, 42, 5000])
@pytest.mark.parametrize("name", ["xvid_b.avi", "dx50.avi", "h264_b.avi", "packed.avi"])
def test_a_wrong_count_in_the_header_of_an_avi_changes_nothing(folder, tmp_path, name, stated):
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes())
    state_frames_in_avi(path, stated)
    assert stated_frames(path) == stated
    assert count_frames(path) == 40
    assert _numbers(read_frames(path, [0, 19, 39])) == [0, 19, 39]


def test_a_wrong_count_in_the_header_of_an_mp4_changes_nothing(folder, tmp_path):
    data = bytearray((folder / "h264.mp4").read_bytes())
    duration = data.index(b"mdhd") + 4 + 16
    stated, data[duration : duration + 4] = int.from_bytes(data[duration : duration + 4], "big"), b"\0\1\0\0"
    assert stated > 0
    path = tmp_path / "h264.mp4"
    path.write_bytes(bytes(data))
    assert count_frames(path) == 40
    assert _numbers(read_frames(path, [0, 19, 39])) == [0, 19, 39]


def test_packets_that_show_nothing_are_not_counted(folder):
    path = folder / "empty_end.avi"
    assert stated_frames(path) == 42
    with av.open(str(path)) as file:
        assert sum(packet.size > 0 for packet in file.demux(video=0)) == 42
    n_frames = count_frames(path)
    assert 40 <= n_frames < 42
    assert _numbers(read_frames(path, range(40))) == list(range(40))
    with pytest.raises(VideoReadError, match=rf"ends after {n_frames} frames .*, but frame 41 was asked for; ask for"):
        read_frames(path, [0, 41])


def test_colours_are_red_first_and_near_those_encoded(tmp_path):
    frames = np.zeros((3, 32, 48, 3), dtype=np.uint8)
    frames[0, :, :, 0], frames[1, :, :, 1], frames[2, :, :, 2] = 200, 200, 200
    path = write_clip(tmp_path / "colours.avi", frames, codec="mjpeg")
    difference = read_frames(path, [0, 1, 2]).int() - torch.from_numpy(frames).int()
    assert difference.abs().max() <= 6


def test_indices_may_be_a_tensor_and_the_path_a_string(folder):
    path = str(folder / "xvid.avi")
    for indices in (torch.tensor([3, 1]), torch.tensor([3, 1], dtype=torch.int32), (3, 1), np.array([3, 1])):
        assert _numbers(read_frames(path, indices)) == [3, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_odd_sizes_and_strange_names_are_read(folder, tmp_path, monkeypatch):
    frames = numbered_frames(6, height=50)
    for name in ("a b#1!.avi", "%03d.avi", "http:x.avi", "ä[1](2)&.avi", "x.txt"):
        (tmp_path / name).write_bytes((folder / "xvid.avi").read_bytes())
        assert _numbers(read_frames(tmp_path / name, [7])) == [7]
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            assert count_frames(name) == 40
    path = write_clip(tmp_path / "odd.avi", frames[:, :, :126])
    assert read_frames(path, [0]).shape == (1, 50, 126, 3)


def test_metadata_in_another_encoding_are_no_obstacle(folder, tmp_path):
    data = (folder / "xvid.avi").read_bytes()
    assert data.count(b"Lavf") == 1
    (tmp_path / "latin1.avi").write_bytes(data.replace(b"Lavf", b"L\xe4vf"))
    assert count_frames(tmp_path / "latin1.avi") == 40


# ---------------------------------------------------------------------------------------------------- broken files


@pytest.mark.parametrize("name", ["xvid.avi", "xvid_b.avi", "dx50_b.avi", "msmpeg4v3.avi", "h264_b.avi", "h264.mkv"])
def test_of_a_truncated_file_the_frames_before_the_cut_remain(folder, tmp_path, name):
    data = (folder / name).read_bytes()
    path = tmp_path / name
    counts = []
    for share in (0.95, 0.6, 0.3):
        path.write_bytes(data[: int(len(data) * share)])
        n_frames = count_frames(path)
        counts.append(n_frames)
        frames = read_frames(path, range(n_frames))
        whole = max(n_frames - 4, 0)  # the last ones may lack a half, or their B-frames
        assert _numbers(frames)[:whole] == list(range(whole))
        with pytest.raises(VideoReadError, match=rf"ends after {n_frames} frames .* but frame {n_frames} was asked"):
            read_frames(path, [n_frames])
    assert 40 >= counts[0] > counts[1] > counts[2] > 0


def _without_pictures(avi, which):
    """Overwrite the contents of some chunks "00dc" by zeros."""
    data, at = bytearray(avi), avi.index(b"movi") + 4
    for k in range(max(which) + 1):
        assert data[at : at + 4] == b"00dc"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if k in which:
            data[at + 8 : at + 8 + size] = bytes(size)
        at += 8 + size + size % 2
    return bytes(data)


def test_broken_data_in_the_middle_are_passed_over(folder, tmp_path):
    path = tmp_path / "spoiled.avi"
    path.write_bytes(_without_pictures((folder / "mjpeg.avi").read_bytes(), range(10, 13)))
    assert _numbers(read_frames(path, range(count_frames(path)))) == [*range(10), *range(13, 40)]


def _png(path):
    Image.new("RGB", (32, 32), (255, 0, 0)).save(path, "png")


def _jpeg(path):
    Image.new("RGB", (32, 32), (255, 0, 0)).save(path, "jpeg")


def _sound(path):
    with av.open(str(path), "w", format="wav") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: path.write_bytes(b""), "Invalid data found when processing input|End of file"),
        (lambda path: path.write_bytes(bytes(5000)), "Invalid data found when processing input"),
        (lambda path: path.write_text("no video\n" * 500), "Invalid data found when processing input"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"), "Invalid data|Input/output"),
        (lambda path: path.mkdir(), "Is a directory|Permission denied|Invalid argument"),
        (_png, "it holds no video"),
        (_jpeg, "it holds no video"),
        (_sound, "it holds no video"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, write, why):
    path = tmp_path / "broken.avi"
    write(path)
    message = (
        rf"video '.*broken.avi' cannot be read \(({why}).*\). hashcenters.data.videos.unreadable_videos\(videos\) "
        r"lists missing and broken ones, splits.without\(...\) leaves them out"
    )
    for call in (count_frames, lambda path: read_frames(path, [0])):
        with pytest.raises(VideoReadError, match=message):
            call(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VideoReadError, match=r"video '.*none.avi' is missing. hashcenters.data.videos.unreadable_vid"):
        read_frames(tmp_path / "none.avi", [0])


def test_a_file_cut_before_its_first_frame_is_refused(folder, tmp_path):
    data = (folder / "xvid.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(VideoReadError, match=r"cut.avi' cannot be read \((none of its frames decodes|Invalid data)"):
        count_frames(tmp_path / "cut.avi")
    (tmp_path / "cut.mp4").write_bytes((folder / "h264.mp4").read_bytes()[:-1000])  # the table is at the end
    with pytest.raises(VideoReadError, match=r"cut.mp4' cannot be read \((it holds no video|Invalid data)"):
        count_frames(tmp_path / "cut.mp4")


def test_a_file_without_a_frame_that_decodes_is_refused(folder, tmp_path):
    (tmp_path / "none.avi").write_bytes(_without_pictures((folder / "mjpeg.avi").read_bytes(), range(40)))
    with pytest.raises(VideoReadError, match=r"none.avi' cannot be read \(none of its frames decodes\)"):
        count_frames(tmp_path / "none.avi")


def test_an_unknown_codec_is_refused(folder, tmp_path):
    data = (folder / "h264.mp4").read_bytes().replace(b"avc1", b"zzzz")
    (tmp_path / "unknown.mp4").write_bytes(data)
    with pytest.raises(VideoReadError, match=r"unknown.mp4' cannot be read \(its codec is unknown\)"):
        count_frames(tmp_path / "unknown.mp4")


def test_a_change_of_size_is_refused(tmp_path):
    for name, height in (("a.mjpeg", 48), ("b.mjpeg", 64)):
        numbered_clip_of(tmp_path / name, height)
    path = tmp_path / "both.mjpeg"
    path.write_bytes((tmp_path / "a.mjpeg").read_bytes() + (tmp_path / "b.mjpeg").read_bytes())
    assert _numbers(read_frames(path, [4])) == [4]
    message = r"cannot be read \(its frames change from \(128, 48\) to \(128, 64\) pixels\)"
    with pytest.raises(VideoReadError, match=message):
        count_frames(path)
    with pytest.raises(VideoReadError, match=message):
        read_frames(path, [0, 6])


def numbered_clip_of(path, height):
    return write_clip(path, numbered_frames(5, height=height), codec="mjpeg")


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([], ValueError, r"indices must name at least one frame, in one dimension, got shape \(0,\)"),
        (torch.tensor(3), ValueError, r"in one dimension, got shape \(\)"),
        ([[1, 2]], ValueError, r"in one dimension, got shape \(1, 2\)"),
        ([0, -1], ValueError, r"indices must be at least 0 \(frames are not counted from the end\), got -1"),
        ([0.0, 1.0], TypeError, "indices must be integers, got torch.float32"),
        ([True], TypeError, "indices must be integers, got torch.bool"),
    ],
)
def test_indices_are_checked_before_the_file_is_opened(indices, error, message):
    with pytest.raises(error, match=message):
        read_frames("nowhere.avi", indices)


def test_frames_beyond_the_end_name_the_file_and_the_count(folder):
    with pytest.raises(VideoReadError, match=r"video '.*xvid.avi' ends after 40 frames .* but frame 40 was asked for"):
        read_frames(folder / "xvid.avi", [0, 40])


def _fails(path):
    return read_frames(path, [0])


def test_errors_reach_the_main_process():
    error = pickle.loads(pickle.dumps(VideoReadError("video 'a.avi' is missing")))
    assert isinstance(error, OSError)
    assert str(error) == "video 'a.avi' is missing"
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(VideoReadError, match=r"video 'nowhere.avi' is missing"),
    ):
        pool.submit(_fails, "nowhere.avi").result()


# ------------------------------------------------------------------------------------------------- what it leaves


def _open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
def test_files_are_closed_whatever_happens(folder, tmp_path):
    (tmp_path / "broken.avi").write_bytes((folder / "xvid.avi").read_bytes()[:3000])
    gc.collect()
    gc.disable()  # closing must not wait for the collector
    try:
        before, kept = _open_files(), []
        for _ in range(5):
            read_frames(folder / "xvid_b.avi", [3])
            count_frames(folder / "h264.mp4")
            for path, index in ((folder / "xvid.avi", 99), (tmp_path / "broken.avi", 99), (tmp_path / "none.avi", 0)):
                with pytest.raises(VideoReadError) as caught:
                    read_frames(path, [index])
                kept.append(caught)
        assert _open_files() == before
    finally:
        gc.enable()


def test_frames_that_nobody_asked_for_are_not_kept(tmp_path):
    resource = pytest.importorskip("resource")
    frame_bytes = 240 * 320 * 3
    picture = np.random.default_rng(0).integers(0, 256, (1, 240, 320, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "long.avi", np.broadcast_to(picture, (200, 240, 320, 3)), codec="mpeg4")
    read_frames(path, [0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count_frames(path)
    read_frames(path, [199])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 60 * frame_bytes  # 200 frames would be 46 MB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_hundreds_of_clips_leave_nothing_behind(folder):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def read(n):
        for k in range(n):
            name = ("xvid_b.avi", "h264.mp4", "packed.avi", "msmpeg4v3.avi")[k % 4]
            read_frames(folder / name, range(0, 31, 2))
            count_frames(folder / name)
            with pytest.raises(VideoReadError):
                read_frames(folder / name, [77])

    read(60)
    gc.collect()
    memory, files = resident(), _open_files()
    tracemalloc.start()
    objects = tracemalloc.take_snapshot()
    read(400)
    gc.collect()
    grown = sum(line.size_diff for line in tracemalloc.take_snapshot().compare_to(objects, "filename"))
    tracemalloc.stop()
    assert _open_files() == files
    assert grown < 200_000  # tracemalloc's own notes among them; one frame a clip would be 7 MB
    assert resident() - memory < 8_000_000


def test_without_pyav_the_error_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['av'] = None\n"
        "try:\n    import hashcenters.data.videos\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'videos need PyAV: pip install "hashcenters[video]"' in done.stdout
