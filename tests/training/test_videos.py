import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hashcenters import HashHead
from hashcenters.data.moving import write_moving_videos
from hashcenters.data.videos.hmdb import hmdb51
from hashcenters.models import FrameAverage, Hasher, MFNet3D
from hashcenters.training import preset
from hashcenters.training.command_line import add_run_arguments, add_video_arguments, options_from, recipe_from
from hashcenters.training.methods import make_network, make_plan
from hashcenters.training.recipes import FRAME_METHODS
from hashcenters.training.videos import (
    ClipAverage,
    checked_videos,
    make_synthetic,
    video_datasets,
    video_thumbnails,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos") / "hmdb51"
    objects = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    write_moving_videos(root, objects, n_train=16, n_test=8, seed=0)
    return root


def parser():
    one = argparse.ArgumentParser("train.py")
    add_video_arguments(one)
    add_run_arguments(one, backbone="mfnet3d", out=Path("runs/hmdb51"), video=True)
    return one


SMALL = ["--no-pretrained", "--frames", "8", "--stride", "1", "--image-size", "32", "--bits", "16", "--no-flip"]


def recipe(folder, *more):
    return recipe_from(parser().parse_args([*SMALL, *more]), hmdb51(folder))


def test_the_command_line_makes_a_recipe_for_clips(folder):
    small = recipe(folder, "--clips", "3", "--preset", "ours")
    assert (small.modality, small.n_frames, small.frame_stride, small.n_clips) == ("video", 8, 1, 3)
    assert not small.flip
    assert not small.place_centers  # random weights know nothing of how classes look
    assert small.top_k == 70
    official = recipe(folder, "--preset", "csq-official")
    assert official.augmented_database
    with pytest.raises(SystemExit):
        parser().parse_args(["--preset", "deephash"])


def test_networks(folder):
    whole = make_network(recipe(folder))
    assert isinstance(whole.backbone, MFNet3D)
    clips = torch.rand(2, 3, 8, 32, 32)
    assert whole.eval()(clips).shape == (2, 16)
    frames = make_network(recipe(folder, "--backbone", "frames:resnet10t")).eval()
    assert isinstance(frames.backbone, FrameAverage)
    assert len(frames.head.layers) == 3
    assert frames(clips).shape == (2, 16)
    torch.testing.assert_close(frames(clips), frames(clips.flip(2)))  # an average knows no order
    for method in FRAME_METHODS:
        one = recipe(folder, "--backbone", "resnet10t", "--method", method)
        network = make_network(one).eval()
        labels = torch.arange(8) % 4
        plan = make_plan(one, labels, 4, network.head.in_features)
        loss = plan.loss_fn(network(torch.rand(8, 3, 8, 32, 32)), labels)
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.head.parameters())


def test_heads_of_methods_fit_networks_of_frames(folder):
    for method in ("dnnh", "orthohash"):
        one = recipe(folder, "--backbone", "frames:resnet10t", "--method", method)
        plan = make_plan(one, torch.arange(8) % 4, 4, 512)
        network = make_network(one, plan.head)
        assert network.head is plan.head
        assert network(torch.rand(4, 3, 8, 32, 32)).shape == (4, 16)
    with pytest.raises(ValueError, match=r"clips must have shape \(N, C, T, H, W\), T at least 1, got \(2, 3, 8, 8\)"):
        FrameAverage(nn.Flatten())(torch.zeros(2, 3, 8, 8))


def test_processes_wait_for_the_first_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    naps = []
    monkeypatch.setattr("time.sleep", naps.append)
    with pytest.raises(RuntimeError, match="hmdb51-synthetic-videos was not written within 600 seconds"):
        make_synthetic(parser().parse_args(["--synthetic"]), layout="hmdb51")
    assert len(naps) == 3000


def test_weights_to_begin_with(folder, tmp_path):
    network = MFNet3D()
    nn.init.constant_(network.conv1.conv.weight, 0.25)
    file = tmp_path / "mfnet3d.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, file)
    begun = make_network(recipe(folder, "--weights", str(file)))
    assert torch.equal(begun.backbone.conv1.conv.weight, network.conv1.conv.weight)
    other = recipe(folder, "--backbone", "frames:resnet10t", "--weights", str(file))
    with pytest.raises(ValueError, match="weights are for backbone 'mfnet3d', got 'frames:resnet10t'"):
        make_network(other)


def test_mfnet3d_begins_with_a_file_or_with_random_weights(folder):
    pretrained = dataclasses.replace(recipe(folder), pretrained=True)
    with pytest.raises(ValueError, match=r"no hub has weights of 'mfnet3d': set weights to a file \(--weights\)"):
        make_network(pretrained)


def test_logits_of_several_clips_are_averaged():
    network = Hasher(nn.Flatten(), HashHead(3 * 2 * 4 * 4, 8))
    average = ClipAverage(network)
    clips = torch.randn(5, 3, 3, 2, 4, 4)
    expected = torch.stack([network(clips[:, i]) for i in range(3)]).mean(dim=0)
    torch.testing.assert_close(average(clips), expected)
    torch.testing.assert_close(average(clips[:, 0]), network(clips[:, 0]))
    assert average.n_bits == 8
    codes, labels = average.encode([(clips, torch.arange(5))], progress=False)
    assert codes.shape == (5, 1)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"clips must have shape \(N, n_clips, C, T, H, W\), got \(2, 3\)"):
        average(torch.zeros(2, 3))


@pytest.mark.parametrize("transform", ["csq-clip", "plain-clip", "whole-clip"])
def test_clips_as_a_recipe_wants_them(transform, folder):
    splits = hmdb51(folder)
    several = recipe(folder, "--transform", transform, "--clips", "2")
    make_dataset = video_datasets(several)(nn.Identity())
    training = make_dataset(splits.train, train=True)
    clip, label = training[1, 3]
    assert clip.shape == (3, 8, 32, 32)
    assert clip.dtype == torch.float32
    assert label == splits.train.labels[3]
    assert torch.equal(clip, training[1, 3][0])
    assert not torch.equal(clip, training[4, 3][0])  # the window at least
    assert make_dataset(splits.queries, train=False)[0][0].shape == (2, 3, 8, 32, 32)
    targets = torch.ones(len(splits.train), 16)
    assert torch.equal(make_dataset(splits.train, train=True, targets=targets)[0, 1][1], targets[1])


def test_an_augmented_database_is_the_same_each_time(folder):
    splits = hmdb51(folder)
    official = recipe(folder, "--preset", "csq-official")
    make_dataset = video_datasets(official)(nn.Identity())
    database = make_dataset(splits.database, train=False, database=True)
    assert len(database) == len(splits.database)
    assert torch.equal(database[2][0], database[2][0])
    plain = make_dataset(splits.database, train=False)[2][0]
    assert not torch.equal(database[2][0], plain)
    clean = dataclasses.replace(official, augmented_database=False)
    assert torch.equal(video_datasets(clean)(nn.Identity())(splits.database, train=False, database=True)[2][0], plain)


def test_thumbnails(folder):
    splits = hmdb51(folder)
    small = video_thumbnails(splits, size=16)(0, "queries")
    assert small.size == (16, 16)
    assert video_thumbnails(splits)(1, "database").size == (32, 32)


def test_broken_videos_are_looked_for_where_asked(folder, tmp_path):
    splits = hmdb51(folder)
    assert checked_videos(splits, parser().parse_args([])) is splits
    assert checked_videos(splits, parser().parse_args(["--synthetic"])).name == "hmdb51-synthetic"
    assert checked_videos(splits, parser().parse_args(["--check-videos"])) is splits
    root = tmp_path / "hmdb51"
    objects = np.zeros((4, 28, 28), np.uint8)
    write_moving_videos(root, objects, n_train=16, n_test=8, seed=0)
    damaged = hmdb51(root)
    damaged.queries.absolute(0).write_bytes(b"no video")
    with pytest.raises(OSError, match="1 videos cannot be read or are too short: .*; mend them, or leave them out"):
        checked_videos(damaged, parser().parse_args(["--check-videos"]))
    left = checked_videos(damaged, parser().parse_args(["--check-videos", "--on-missing", "skip"]))
    assert left.skipped == (damaged.queries.paths[0],)


def test_short_videos_have_a_policy(folder, capsys):
    splits = hmdb51(folder)
    checked_videos(splits, parser().parse_args(["--check-videos", "--frames", "40", "--stride", "1"]))
    assert "24 videos have fewer frames than a clip spans, 40" in capsys.readouterr().out
    with pytest.raises(OSError, match="24 videos cannot be read or are too short"):
        checked_videos(splits, parser().parse_args(["--check-videos", "--frames", "40", "--on-short", "stop"]))
    stopping = recipe(folder, "--frames", "40", "--on-short", "stop")
    with pytest.raises(OSError, match="short"):
        video_datasets(stopping)(nn.Identity())(splits.train, train=True)[0, 0]
    assert recipe(folder, "--frames", "40").on_short == "loop"


def test_methods_over_frames_take_an_image_network(folder):
    assert recipe(folder, "--method", "srh").backbone == "resnet50"
    assert recipe(folder, "--method", "srh", "--backbone", "resnet10t").backbone == "resnet10t"
    assert recipe(folder, "--method", "dch").backbone == "mfnet3d"


def test_a_synthetic_run_takes_small_values_where_nothing_is_said(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("hashcenters.training.videos.moving_objects", lambda: np.zeros((4, 28, 28), np.uint8))

    def write(root, objects, **options):
        made.append(options)
        assert root.is_dir()
        assert not list(root.iterdir())

    monkeypatch.setattr("hashcenters.training.videos.write_moving_videos", write)
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--bits", "32", "--clips", "2"]):
        args = parser().parse_args(["--synthetic", *more])
        make_synthetic(args, layout="hmdb51")
        assert args.root == Path("runs/hmdb51-synthetic-videos")
        assert args.root.is_dir()
        assert (args.n_bits, args.n_clips) == ((32, 2) if more else (16, 1))
        assert args.select_last
    assert [options["layout"] for options in made] == ["hmdb51"]  # once
    args.root = tmp_path
    assert options_from(args, preset("ours", "hmdb51", method="csq")).folder.parent == Path("runs/hmdb51-synthetic")
