import argparse
import json
from pathlib import Path

import pytest
import torch

from hashcenters.data.images import read_lists
from hashcenters.training.command_line import (
    add_data_arguments,
    add_run_arguments,
    checked_images,
    options_from,
    recipe_from,
    stopping,
)
from hashcenters.training.images import image_datasets, image_thumbnails
from hashcenters.training.recipes import preset
from hashcenters.training.run import RunOptions
from lookalikes import list_tree


def parser():
    one = argparse.ArgumentParser("train.py")
    add_data_arguments(one)
    add_run_arguments(one, backbone="resnet50", out=Path("runs/images"))
    return one


def splits(folder, *, multi_label=False):
    list_tree(folder, multi_label=multi_label)
    return read_lists(folder / "lists", folder / "images", name="photos", top_k=10, multi_label=multi_label)


def test_the_preset_and_what_replaces_it(tmp_path):
    images = splits(tmp_path)
    plain = recipe_from(parser().parse_args([]), images)
    assert plain == preset("csq-paper", "photos")
    arguments = ["--epochs", "3", "--lr", "0.5", "--no-pretrained", "--bits", "32", "--seed", "4", "--image-size", "64"]
    changed = recipe_from(parser().parse_args(arguments), images)
    assert (changed.n_epochs, changed.lr, changed.pretrained, changed.n_bits, changed.seed) == (3, 0.5, False, 32, 4)
    assert "Changed from the preset, whatever else is said here: " in changed.quirks[-1]
    assert "lr is 0.5, not 0.001" in changed.quirks[-1]
    assert "n_bits" not in changed.quirks[-1]
    assert recipe_from(parser().parse_args(["--preset", "ours"]), images).method == "ours"
    assert recipe_from(parser().parse_args(["--centers", "semantic"]), images).place_centers
    assert recipe_from(parser().parse_args(["--method", "sdh"]), images).method == "sdh"


def test_the_kind_of_labels_decides_where_a_preset_looks_at_it(tmp_path):
    official = parser().parse_args(["--preset", "csq-official"])
    one = recipe_from(official, splits(tmp_path / "one"))
    several = recipe_from(official, splits(tmp_path / "several", multi_label=True))
    assert (one.backbone_multiplier, several.backbone_multiplier) == (0.01, 0.05)
    assert any("random vector" in words for words in several.quirks)
    assert not any("random vector" in words for words in one.quirks)


def test_options(tmp_path):
    args = parser().parse_args(["--select-on-test", "--workers", "3", "--mixed-precision", "bf16", "--accumulate", "2"])
    options = options_from(args, preset("csq-paper", "photos", backbone="timm/resnet50:x"))
    assert options.folder == Path("runs/images/csq-timm_resnet50_x-64-csq-paper")
    assert (options.selection, options.n_workers, options.mixed_precision) == ("test", 3, "bf16")
    assert options.n_accumulated == 2
    assert json.loads(json.dumps(options.arguments))["select_on_test"] is True
    args = parser().parse_args(["--out", "here", "--select-last", "--validation-share", "0.2", "--quiet", "--resume"])
    options = options_from(args, preset("csq-paper", "photos"))
    assert (options.folder, options.selection, options.validation_share) == (Path("here"), "last", 0.2)
    assert options.resume
    assert not options.progress
    assert options_from(parser().parse_args([]), preset("csq-paper", "photos")).selection == "held-out"
    with pytest.raises(SystemExit):
        parser().parse_args(["--select-last", "--select-on-test"])


def test_broken_images_are_looked_for_where_asked(tmp_path):
    images = splits(tmp_path)
    broken = images.train.absolute(3)
    broken.write_bytes(broken.read_bytes()[:300])
    assert checked_images(images, parser().parse_args([])) is images
    with pytest.raises(
        OSError, match=r"1 images cannot be read: .*; mend them, or leave them out by --on-missing skip"
    ):
        checked_images(images, parser().parse_args(["--check-images"]))
    left = checked_images(images, parser().parse_args(["--check-images", "--on-missing", "skip"]))
    assert left.skipped == (images.train.paths[3],)
    assert len(left.train) == len(images.train) - 1


def raising(error):
    with stopping(argparse.ArgumentParser("train.py")):
        raise error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("lr must be above 0"), "train.py: lr must be above 0"),
        (FileNotFoundError('2 are absent; pass on_missing="skip"'), "train.py: 2 are absent; pass --on-missing skip"),
        (ValueError("validation_share=0.1 of 9"), "train.py: --validation-share 0.1 of 9"),
        (
            OSError(
                "Caught ImageReadError in DataLoader worker process 0.\nTraceback\na.ImageReadError: x.jpg: broken\n"
            ),
            "train.py: x.jpg: broken",
        ),
    ],
)
def test_what_the_user_can_mend_has_no_traceback(error, words):
    with pytest.raises(SystemExit) as stop:
        raising(error)
    assert str(stop.value) == words


def test_bugs_keep_their_traceback_and_interrupts_say_how_to_go_on(capsys, monkeypatch):
    for error in (TypeError("a bug"), NotImplementedError("a bug"), KeyError("a bug")):
        with pytest.raises(type(error), match="a bug"):
            raising(error)
    with pytest.raises(SystemExit) as stop:
        raising(KeyboardInterrupt())
    assert stop.value.code == 130
    assert "the same command with --resume goes on after the last whole epoch" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as stop:
        raising(ValueError("said by the first process"))
    assert stop.value.code == 1


@pytest.mark.parametrize("transform", ["csq", "deephash", "timm"])
def test_images_as_a_recipe_wants_them(transform, tmp_path):
    from hashcenters.training.methods import make_network

    images = splits(tmp_path)
    arguments = ["--transform", transform, "--image-size", "32", "--backbone", "resnet10t", "--no-pretrained"]
    recipe = recipe_from(parser().parse_args(arguments), images)
    make_dataset = image_datasets(recipe)(make_network(recipe))
    training, plain = (make_dataset(images.train, train=train) for train in (True, False))
    image, label = training[2, 5]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert label == images.train.labels[5]
    assert torch.equal(image, training[2, 5][0])
    assert not torch.equal(image, training[3, 5][0])
    assert torch.equal(plain[5][0], plain[5][0])
    targets = torch.ones(len(images.train), 8)
    assert torch.equal(make_dataset(images.train, train=True, targets=targets)[0, 1][1], targets[1])


def test_thumbnails(tmp_path):
    images = splits(tmp_path)
    small = image_thumbnails(images, size=20)(0, "queries")
    assert max(small.size) == 20
    assert small.mode == "RGB"
    large = image_thumbnails(images)(1, "database")
    assert max(large.size) <= 112
    assert RunOptions(tmp_path).arguments == {}
