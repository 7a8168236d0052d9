import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from hashcenters.data.images import ImageReadError, open_image
from hashcenters.data.items import check_entry


@pytest.mark.parametrize(
    ("entry", "plain"),
    [
        ("a.jpg", "a.jpg"),
        ("train/n01/a b.JPEG", "train/n01/a b.JPEG"),
        ("./a.jpg", "a.jpg"),
        ("a//b/./c.jpg", "a/b/c.jpg"),
        ("a..b/..c/d...jpg", "a..b/..c/d...jpg"),
        (".hidden/.jpg", ".hidden/.jpg"),
        ("~/a.jpg", "~/a.jpg"),
    ],
)
def test_entries_inside_the_root_pass(entry, plain):
    assert check_entry(entry) == plain


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("../a.jpg", "must stay inside the root, got '../a.jpg'"),
        ("a/../../b.jpg", "must stay inside the root"),
        ("a/..", "must stay inside the root"),
        ("/etc/passwd", "must be relative to the root, got '/etc/passwd'; cut the root off"),
        ("//server/share/a.jpg", "must be relative to the root"),
        ("C:/a.jpg", "must be relative to the root"),
        ("c:a.jpg", "must be relative to the root"),
        ("a\\b.jpg", 'must use "/" between folders'),
        ("..\\a.jpg", 'must use "/" between folders'),
        ("a\0.jpg", "must be one line without NUL"),
        ("a\n.jpg", "must be one line without NUL"),
        ("", "must name a file, got ''"),
        (".", "must name a file"),
        ("./", "must name a file"),
        ("a/", "must name a file"),
    ],
)
def test_entries_that_could_leave_the_root_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        check_entry(entry)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb_without_a_warning(tmp_path, mode):
    ramp = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 256)
    else:
        image = Image.fromarray(ramp) if mode == "P" else Image.fromarray(ramp).convert("RGB")
        image = image.convert(mode)
    if mode == "P":
        image.info["transparency"] = bytes(range(256))  # what Pillow warns about
    file = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = open_image(file)
    assert decoded.mode == "RGB"
    gray = np.asarray(decoded).astype(int)
    if mode != "1":
        assert np.abs(gray - ramp[..., None]).max() <= 1


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to show
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (8, 4)


def _broken_files(folder):
    picture = Image.effect_noise((64, 64), 50)
    picture.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:700])
    picture.save(folder / "bad.png")
    content = bytearray((folder / "bad.png").read_bytes())
    content[60:80] = bytes(20)
    (folder / "bad.png").write_bytes(content)
    (folder / "text.jpg").write_text("<html>429</html>")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    return ["cut.jpg", "bad.png", "text.jpg", "empty.jpg", "folder.jpg"]


def test_broken_images_are_named_with_the_way_on(tmp_path):
    for name in _broken_files(tmp_path):
        with pytest.raises(
            ImageReadError, match=rf"image '.*{name}' cannot be read \(.+\).*unreadable\(images\)"
        ) as info:
            open_image(tmp_path / name)
        assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)
    with pytest.raises(ImageReadError, match=r"image '.*none.jpg' is missing. .* on_missing=\"skip\" leaves"):
        open_image(tmp_path / "none.jpg")
    with pytest.raises(OSError, match="is missing"):  # peers' handlers of OSError go on working
        open_image(tmp_path / "none.jpg")


def test_decompression_bombs_are_read_errors(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError, match="cannot be read .*decompression bomb"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("package", ["PIL", "torchvision"])
def test_missing_packages_name_the_extra(package):
    code = f"import sys; sys.modules[{package!r}] = None; import hashcenters; import hashcenters.data.images"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = answer.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert message.endswith('pip install "hashcenters[images]"')
