"""Whole runs on small data in memory: stopped anywhere, they end as if they had not been."""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from hashcenters import HammingRetrievalEvaluator, HashHead
from hashcenters.centers import similarity_from_features
from hashcenters.data.seeding import seeded
from hashcenters.models import Hasher
from hashcenters.training import run as run_module
from hashcenters.training.checkpoints import load_checkpoint, save_checkpoint
from hashcenters.training.recipes import Recipe
from hashcenters.training.run import RunOptions, train_and_evaluate

N_CLASSES, WIDTH = 4, 12


@dataclass(frozen=True)
class Items:
    values: torch.Tensor
    labels: torch.Tensor
    class_names: tuple = tuple("abcd")

    @property
    def paths(self):
        return tuple(f"{number}.jpg" for number in range(len(self.labels)))

    def subset(self, rows):
        return Items(self.values[rows], self.labels[rows])

    def __len__(self):
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    train: Items
    queries: Items
    database: Items
    name: str = "clouds"
    top_k: int = 50

    def counts(self):
        sizes = {"train": len(self.train), "queries": len(self.queries), "database": len(self.database)}
        return sizes | {"data_imbalance": 3.0}

    def report(self):
        return "clouds: small"


class Noisy(Dataset):
    """Noise in the place of augmentation, as an image data set has it: by (seed, epoch, index)."""

    def __init__(self, items, train, targets):
        self.items, self.train, self.targets = items, train, targets

    def __len__(self):
        return len(self.items)

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        value = self.items.values[index]
        if self.train:
            with seeded(0, epoch, index):
                value = value + torch.randn(WIDTH) / 4
        return value, (self.items.labels if self.targets is None else self.targets)[index]


def make_datasets(network):
    return lambda items, *, train, targets=None, database=False: Noisy(items, train, targets)


def clouds(multi_label=False):
    generator = torch.Generator().manual_seed(7)
    places = torch.randn(N_CLASSES, WIDTH, generator=generator)

    def items(n):
        if multi_label:
            labels = (torch.rand(n, N_CLASSES, generator=generator) < 0.4).to(torch.uint8)
            labels[torch.arange(n), torch.arange(n) % N_CLASSES] = 1
            values = labels.float() @ places
        else:
            labels = torch.arange(n) % N_CLASSES
            values = places[labels]
        return Items(values + torch.randn(n, WIDTH, generator=generator), labels)

    return Splits(items(60), items(12), items(50))


def small_network(recipe, head=None):
    backbone = nn.Sequential(nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
    return Hasher(backbone, HashHead(16, recipe.n_bits, hidden_features=(), dropout=0))


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch):
    monkeypatch.setattr(run_module, "make_network", small_network)


RECIPE = Recipe(preset="test", dataset="clouds", n_bits=16, n_epochs=4, batch_size=16, lr=0.01, pretrained=False)


def options(folder, **changes):
    return dataclasses.replace(RunOptions(folder, validate_every=2, validation_share=0.2, progress=False), **changes)


def do(folder, recipe=RECIPE, splits=None, **changes):
    return train_and_evaluate(splits or clouds(), recipe, options(folder, **changes), make_datasets=make_datasets)


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_run(one, other):
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))
    codes, others = np.load(one / "codes.npz"), np.load(other / "codes.npz")
    assert all(np.array_equal(codes[name], others[name]) for name in codes)
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (one, other)]
    logs = [[json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] for folder in (one, other)]
    for record in (*results, *logs[0], *logs[1]):
        for name in ("seconds", "seconds_training", "samples_per_second"):
            record.pop(name, None)
    assert results[0] == results[1]
    assert logs[0] == logs[1]
    files = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    assert files[0] == files[1]


class Killed(BaseException):
    """What no code catches by accident."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs, by method."""
    finished = {}

    def of(recipe, **changes):
        key = (recipe, *changes.items())
        if key not in finished:
            finished[key] = tmp_path_factory.mktemp("whole") / "run"
            do(finished[key], recipe, **changes)
        return finished[key]

    return of


METHODS = {
    "csq": {},
    "hashnet": {"method": "hashnet", "optimizer": "sgd", "momentum": 0.9},  # its loss has a schedule of its own
    "face": {"method": "face"},  # learned centers, in two stages
    "ours": {"method": "ours", "centers": "semantic", "place_centers": True, "optimizer": "adamw"},
    "orthohash": {"method": "orthohash", "clip_norm": 0.5},  # a head of its own
    "greedyhash": {"method": "greedyhash", "schedule": "step", "step_epochs": 1, "warmup_epochs": 1.0},
}


@pytest.mark.parametrize("method", METHODS)
def test_killed_in_any_epoch_it_ends_the_same(method, whole, tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, **METHODS[method])
    expected = whole(recipe)
    optimizer = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    step = optimizer.step
    for steps in (1, 4, 7, 11):  # three steps an epoch
        folder, taken = tmp_path / str(steps), []

        def count(self, *arguments, steps=steps, taken=taken, **more):
            taken.append(1)
            if len(taken) > steps:
                raise Killed
            return step(self, *arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(optimizer, "step", count)
            with pytest.raises(Killed):
                do(folder, recipe)
        do(folder, recipe, resume=True)
        assert_same_run(expected, folder)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_any_write_it_ends_the_same(moment, whole, tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, n_epochs=2)
    expected = whole(recipe, validate_every=1)
    replace = os.replace
    number = 0
    while True:
        number += 1
        folder, written = tmp_path / f"{moment}-{number}", []

        def kill(source, target, number=number, written=written):
            written.append(target)
            if len(written) == number and moment == "before":
                raise Killed
            replace(source, target)
            if len(written) == number:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr("os.replace", kill)
            try:
                do(folder, recipe, validate_every=1)
            except Killed:
                pass
            else:
                break
        do(folder, recipe, validate_every=1, resume=True)
        assert_same_run(expected, folder)
    assert number > 12  # configuration, best weights, checkpoints, logs, results


def test_killed_twice_and_started_with_resume(whole, tmp_path, monkeypatch):
    folder = tmp_path / "new"
    keep = run_module._Run.keep
    for n_epochs in (2, 3):

        def stop(self, *arguments, n_epochs=n_epochs):
            keep(self, *arguments)
            if len(self.history) == n_epochs:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(run_module._Run, "keep", stop)
            with pytest.raises(Killed):
                do(folder, resume=True)
        assert len((folder / "log.jsonl").read_text().splitlines()) == n_epochs
    do(folder, resume=True)
    assert_same_run(whole(RECIPE), folder)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert do(folder, resume=True) is None  # finished: nothing is done again
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    (folder / "metrics.json").unlink()
    assert do(folder, resume=True) is not None
    assert_same_run(whole(RECIPE), folder)
    (folder / "metrics.json").unlink()
    for path in folder.glob("best-*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="is gone: the weights that were selected; train again in another"):
        do(folder, resume=True)


def test_workers_change_nothing(whole, tmp_path):
    do(tmp_path / "run", n_workers=2)
    assert_same_run(whole(RECIPE), tmp_path / "run")


def test_the_epoch_is_selected_on_held_out_samples(tmp_path):
    folder = tmp_path / "held-out"
    result = do(folder, validate_every=1)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    metrics, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "config"))
    assert metrics["selection"] == config["selection"] == "held-out"
    assert metrics["validation_map"] == max(record["map"] for record in log)
    assert log[metrics["selected_epoch"] - 1]["map"] == metrics["validation_map"]
    assert metrics["map"] == result.map
    assert config["data"]["n_held_out"] == 12
    assert log[0]["n_samples"] == 48
    assert [path.name for path in folder.glob("best-*")] == [f"best-{metrics['selected_epoch']:04}.safetensors"]

    # The codes are those of the weights that were kept.
    network = small_network(RECIPE)
    network.load_state_dict(weights(folder))
    network.eval()
    codes = np.load(folder / "codes.npz")
    with torch.no_grad():
        logits = network(clouds().queries.values)
    assert np.array_equal(np.packbits(logits.numpy() >= 0, axis=1), codes["query"])
    evaluator = HammingRetrievalEvaluator(16, top_k=50)
    evaluator.add_database(codes["database"], codes["database_labels"])
    evaluator.add_queries(codes["query"], codes["query_labels"])
    assert evaluator.compute().map == result.map


@pytest.mark.parametrize(("selection", "n_samples"), [("last", 48), ("test", 48)])
def test_other_selections_hold_nothing_out_and_say_so(selection, n_samples, tmp_path):
    folder = tmp_path / "run"
    result = do(folder, selection=selection, validate_every=1)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["selection"] == selection
    assert json.loads((folder / "config.json").read_text())["data"]["n_held_out"] == 0
    if selection == "last":
        assert all("map" not in record for record in log)
        assert metrics["selected_epoch"] == 4
        assert metrics["validation_map"] is None
        assert not list(folder.glob("best-*"))
    else:
        assert result.map == metrics["validation_map"] == max(record["map"] for record in log)


def test_learned_centers_are_selected_in_the_second_half(whole):
    folder = whole(dataclasses.replace(RECIPE, **METHODS["face"]))
    metrics = json.loads((folder / "metrics.json").read_text())
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    assert "map" in log[1]
    assert metrics["selected_epoch"] == 4
    assert set(load_file(folder / "centers.safetensors")["centers"].unique().tolist()) == {-1, 1}


@pytest.mark.parametrize("method", ["cnnh", "csq"])
def test_targets_go_with_their_samples(method, tmp_path):
    """Codes of the training samples, in the place of labels: a mix-up would leave nothing to learn."""
    splits = clouds(multi_label=method == "csq")
    recipe = dataclasses.replace(RECIPE, method=method, ties="sample", n_epochs=40, lr=0.02)
    do(tmp_path / "run", recipe, splits, selection="last")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["loss"] < 0.6 * log[0]["loss"]


@pytest.mark.parametrize("method", ["itq-cca", "sdh", "bre", "ksh", "lsh", "itq"])
def test_shallow_methods_learn_from_features(method, tmp_path):
    recipe = dataclasses.replace(RECIPE, method=method, n_bits=8)
    result = do(tmp_path / "run", recipe)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["map"] == result.map
    assert metrics["seconds_training"] > 0
    assert metrics["selection"] == "last"
    assert np.load(tmp_path / "run" / "codes.npz")["database"].shape == (50, 1)
    if method in ("itq-cca", "sdh"):
        assert result.map > 0.5
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_class_without_samples_is_as_similar_as_classes_are(tmp_path):
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(20) % 3
    whole = run_module._similarity(features, labels, 3)
    assert torch.equal(whole, similarity_from_features(features, labels, 3))
    more = run_module._similarity(features, labels + (labels > 0), 5)  # classes 0, 2, 3 of 5
    there = torch.tensor([0, 2, 3])
    torch.testing.assert_close(more[there][:, there], whole)
    mean = (whole.sum() - whole.trace()) / 6
    torch.testing.assert_close(more[1, there], mean.expand(3))
    torch.testing.assert_close(more[there, 4], mean.expand(3))
    torch.testing.assert_close(more[[1, 4], [1, 4]], whole.diagonal().mean().expand(2))
    torch.testing.assert_close(more[1, 4], mean)


def test_folders(tmp_path):
    folder = tmp_path / "run"
    do(folder)
    with pytest.raises(FileExistsError, match="run holds a run: go on with it by --resume, or take another folder"):
        do(folder)
    changed = dataclasses.replace(RECIPE, lr=0.5)
    with pytest.raises(ValueError, match=r"holds a run that was made otherwise: lr was 0\.01, is 0\.5; take another"):
        do(folder, changed, resume=True)
    with pytest.raises(ValueError, match="selection was 'held-out', is 'last'"):
        do(folder, resume=True, selection="last")
    other = clouds()
    other = dataclasses.replace(other, queries=Items(other.queries.values, other.queries.labels.flip(0)))
    with pytest.raises(ValueError, match="made otherwise: queries items was '12, .*', is '12, .*'"):
        do(folder, splits=other, resume=True)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        do(folder, resume=True)


def test_a_run_that_was_refused_blocks_no_folder(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match="48 samples do not fill one batch of batch_size=1000"):
        do(folder, dataclasses.replace(RECIPE, batch_size=1000))
    assert (folder / "config.json").exists()
    do(folder, arguments={"root": "here"})
    assert json.loads((folder / "config.json").read_text())["options"]["arguments"] == {"root": "here"}


def test_what_a_run_that_was_given_up_left_is_not_taken(tmp_path, monkeypatch):
    """Placed centers come from the features of the network at hand, not from those of another that began here."""
    recipe = dataclasses.replace(RECIPE, **METHODS["ours"], n_epochs=1)
    folder = tmp_path / "run"

    def kill(self, *arguments, **more):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", kill)
        with pytest.raises(Killed):
            do(folder, recipe)
    left = load_file(folder / "similarity.safetensors")["similarity"]
    other = dataclasses.replace(recipe, seed=1)
    do(folder, other, resume=True)
    do(tmp_path / "whole", other)
    assert not torch.equal(left, load_file(folder / "similarity.safetensors")["similarity"])
    assert_same_run(tmp_path / "whole", folder)


def test_what_a_loss_compares_is_the_part_of_a_batch(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at least 2 with method 'hashnet', which compares samples"):
        do(tmp_path / "run", dataclasses.replace(RECIPE, method="hashnet"), n_accumulated=16)


def test_parts_layouts_and_compilation(tmp_path, capsys):
    folder = tmp_path / "run"
    do(folder, n_accumulated=2, channels_last=True)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["n_samples"] for record in log] == [48] * 4
    assert log[-1]["loss"] < log[0]["loss"]
    for name in ("metrics.json", "model.safetensors"):
        (folder / name).unlink()
    checkpoint = load_checkpoint(folder / "checkpoint.pt")
    checkpoint.history, checkpoint.records = checkpoint.history[:2], checkpoint.records[:2]
    save_checkpoint(folder / "checkpoint.pt", checkpoint)
    capsys.readouterr()
    do(folder, resume=True, progress=True)
    assert "n_accumulated was 2, is 1: the batches of a process are others from here on" in capsys.readouterr().out


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    replace, full = os.replace, []

    def fill(source, target):
        if full:
            raise OSError(28, "No space left on device")
        replace(source, target)
        if str(target).endswith("log.jsonl"):
            full.append(1)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fill)
        with pytest.raises(
            OSError, match=r"could not be written \(No space left on device\); the previous file is intact"
        ):
            do(folder, validate_every=4)
    assert not list(folder.glob(".*"))
    do(folder, validate_every=4, resume=True)
    do(tmp_path / "whole", validate_every=4)
    assert_same_run(tmp_path / "whole", folder)


def test_options_are_checked(tmp_path):
    for changes, message in (
        ({"selection": "best"}, "selection must be one of held-out, last, test, got 'best'"),
        ({"mixed_precision": "fp8"}, "mixed_precision must be one of no, bf16, fp16, got 'fp8'"),
        ({"validation_share": 1.0}, r"validation_share must lie in \(0, 1\), got 1.0"),
        ({"validate_every": 0}, "validate_every must be at least 1, got 0"),
        ({"n_workers": -1}, "n_workers must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            options(tmp_path, **changes)
    with pytest.raises(ValueError, match="n_epochs must be at least 2 with method 'face', got 1"):
        do(tmp_path / "run", dataclasses.replace(RECIPE, method="face", n_epochs=1))


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    do(tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([record["loss"] for record in log])
    assert events.Scalars("lr/head")[0].value == pytest.approx(log[0]["lr"]["head"])
    assert [event.step for event in events.Scalars("map")] == [2, 4]


def test_tensorboard_is_needed_for_its_curves_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'curves for TensorBoard need it: pip install "hashcenters\[training\]"'):
        do(tmp_path / "run", tensorboard=True)


def test_it_says_what_happens(tmp_path, capsys):
    do(tmp_path / "run", progress=True)
    printed = capsys.readouterr().out
    assert printed.startswith("clouds: small\n")
    assert "epoch 4/4  loss 0." in printed
    assert printed.count("mAP 0.") == 2
    assert "mAP@50" in printed
    assert printed.rstrip().endswith(f"written to {tmp_path / 'run'}")


TWO = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from hashcenters.training import run as run_module
import test_run
run_module.make_network = test_run.small_network
folder = Path(sys.argv[1])
test_run.do(folder, resume=True)
"""


@pytest.mark.slow
def test_two_processes_evaluate_as_one(tmp_path):
    """One process trains; two take its weights, encode and evaluate: the same metrics and codes, to the last bit."""
    folder = tmp_path / "run"
    do(folder)
    names = ("metrics.json", "curves.json")
    before = [(folder / name).read_text() for name in names]
    codes = dict(np.load(folder / "codes.npz"))
    for name in (*names, "codes.npz", "model.safetensors"):
        (folder / name).unlink()
    script = tmp_path / "evaluate.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    here = os.path.dirname(__file__)
    command = [*launch, str(script), str(folder), here]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert json.loads((folder / "config.json").read_text())["n_processes"] == 2
    assert [(folder / name).read_text() for name in names] == before
    again = np.load(folder / "codes.npz")
    assert all(np.array_equal(again[name], codes[name]) for name in codes)


@pytest.mark.slow
def test_two_processes_stop_and_go_on(tmp_path):
    """And both evaluate the same network: each gathers statistics of batch normalization from its own batches."""
    script = tmp_path / "train.py"
    script.write_text(TWO.replace("test_run.do(folder, resume=True)", STOP))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    here = os.path.dirname(__file__)
    for name, stops in (("whole", "0"), ("stopped", "2"), ("stopped", "0")):
        command = [*launch, str(tmp_path / name), here, stops]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (answer.returncode == 0) == (stops == "0"), answer.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")

    # The weights that were kept make the codes of both processes, batch normalization included.
    network = small_network(RECIPE)
    network.load_state_dict(weights(tmp_path / "whole"))
    network.eval()
    with torch.no_grad():
        logits = network(clouds().database.values)
    assert np.array_equal(
        np.packbits(logits.numpy() >= 0, axis=1), np.load(tmp_path / "whole" / "codes.npz")["database"]
    )


STOP = """
stops = int(sys.argv[3])
keep = run_module._Run.keep
def stop(self, *arguments):
    keep(self, *arguments)
    if len(self.history) == stops:
        sys.exit(1)
run_module._Run.keep = stop
test_run.do(folder, resume=True, selection="last")
"""
