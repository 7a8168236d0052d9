import errno
import json
import math
import os

import pytest

from hashcenters.training import files
from hashcenters.training.files import write_atomically, write_json


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "run.bin"
    write_atomically(path, b"long old content")
    write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["run.bin"]
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    assert path.stat().st_mode == ordinary.stat().st_mode  # others may read it as any other file


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_file(tmp_path, monkeypatch, step):
    path = tmp_path / "run.bin"
    write_atomically(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(
        OSError, match=r"run.bin could not be written \(No space left.*the previous file is intact"
    ) as e:
        write_atomically(path, b"new")
    assert e.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["run.bin"]


def test_what_a_kill_left_does_not_stay(tmp_path):
    left = tmp_path / ".run.bin.tmp"
    left.write_bytes(b"a longer part of the content")
    write_atomically(tmp_path / "run.bin", b"new")
    assert (tmp_path / "run.bin").read_bytes() == b"new"
    assert not left.exists()


def test_without_a_previous_file_the_error_says_so(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"nowhere.a could not be written \(No such file.*nothing was written"):
        write_atomically(tmp_path / "nowhere" / "a", b"")

    def fail(*_):
        raise OSError("odd")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match=r"a could not be written \(odd\); nothing was written"):
        write_atomically(tmp_path / "a", b"")


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"1")
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(files.os, "open", fail)
    write_atomically(tmp_path / "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_json_without_nan(tmp_path):
    value = {"a": math.nan, "b": [1.5, -math.inf, (2, True)], "name": "b<\udcff>|\n\u732b"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="ascii")
    assert json.loads(text) == {"a": None, "b": [1.5, None, [2, True]], "name": "b<\udcff>|\n\u732b"}
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert (tmp_path / "a.json").read_text(encoding="ascii") == text
