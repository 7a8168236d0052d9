import dataclasses
import itertools
import json
import math

import pytest

from hashcenters.training.recipes import DEEP_METHODS, FRAME_METHODS, PRESETS, SHALLOW_METHODS, Recipe, preset

RECIPE = Recipe(preset="mine", dataset="photos")
DATASETS = ("imagenet100", "coco", "nus_wide", "photos")


def changed(**values):
    return dataclasses.replace(RECIPE, **values)


def test_every_preset_survives_json():
    methods = [method for method in DEEP_METHODS + SHALLOW_METHODS if method not in FRAME_METHODS]
    everything = itertools.product(PRESETS, DATASETS, methods, ("resnet50", "alexnet"), (16, 64))
    for name, dataset, method, backbone, n_bits in everything:
        recipe = preset(name, dataset, method=method, backbone=backbone, n_bits=n_bits, seed=7)
        assert (recipe.preset, recipe.dataset, recipe.method) == (name, dataset, method)
        assert (recipe.backbone, recipe.n_bits, recipe.seed) == (backbone, n_bits, 7)
        stored = json.loads(json.dumps(recipe.as_dict()))
        assert stored == recipe.as_dict()
        assert Recipe.from_dict(stored) == recipe
        assert recipe.top_k == (5000 if dataset in ("coco", "nus_wide") else 1000)
        assert recipe.quirks
        assert all(words.endswith(".") for words in recipe.quirks)


@pytest.mark.parametrize(
    ("dataset", "backbone", "n_bits", "expected"),
    [
        ("imagenet100", "resnet50", 64, (1e-3, 0.01, 0.05, 0.5, "paper")),
        ("coco", "resnet50", 64, (1e-3, 0.05, 0.05, 0.5, "balanced")),
        ("coco", "resnet50", 32, (1e-3, 0.05, 0.05, 0.5, "paper")),
        ("nus_wide", "resnet50", 16, (1e-3, 0.05, 0.05, 0.5, "paper")),
        ("imagenet100", "alexnet", 16, (1e-4, 0.01, 1e-3, 0.0, "paper")),
        ("imagenet100", "alexnet", 64, (1e-4, 0.01, 1e-4, 0.0, "paper")),
        ("nus_wide", "alexnet", 64, (1e-4, 0.01, 1e-3, 0.0, "paper")),
        ("photos", "vit_tiny_patch16_224", 64, (1e-3, 0.01, 0.05, 0.5, "paper")),
    ],
)
def test_the_released_recipe(dataset, backbone, n_bits, expected):
    recipe = preset("csq-official", dataset, backbone=backbone, n_bits=n_bits)
    values = (recipe.lr, recipe.backbone_multiplier, recipe.quantization_weight, recipe.dropout, recipe.centers)
    assert values == expected
    assert (recipe.quantization, recipe.ties, recipe.optimizer, recipe.weight_decay) == ("squared", "shared", "adam", 0)
    assert (recipe.schedule, recipe.step_epochs, recipe.step_factor) == ("step", 10, 0.7)
    assert (recipe.n_epochs, recipe.batch_size, recipe.hidden_layers, recipe.transform) == (90, 64, 2, "csq")
    assert any("--select-on-test" in words for words in recipe.quirks)
    assert any("squared" in words for words in recipe.quirks)
    assert any("ties='shared'" in words for words in recipe.quirks) == (dataset in ("coco", "nus_wide"))
    assert any("dropout" in words for words in recipe.quirks) == (backbone != "alexnet")
    assert any("ResNet-50 and AlexNet" in words for words in recipe.quirks) == backbone.startswith("vit")
    assert any("this data set" in words for words in recipe.quirks) == (dataset == "photos")


def test_quirks_are_those_of_the_method():
    def said(name, method, dataset="coco", **options):
        return " ".join(preset(name, dataset, method=method, **options).quirks)

    for name in ("csq-official", "deephash"):
        assert "ties='shared'" in said(name, "csq-no-lq")
        assert "(quantization='squared')" not in said(name, "csq-no-lq")
        assert "this method was published with another" not in said(name, "csq+lp")
        for words in ("ties=", "quantization=", "centers=", "halves"):
            assert words not in said(name, "hashnet")
        assert "this method was published with another" in said(name, "hashnet")
        assert "head" not in said(name, "dnnh").replace("Backbone and head", "")
    assert "centers='balanced'" in said("csq-official", "orthohash")
    assert "λ₁" in said("csq-paper", "csq")
    assert "λ₁" not in said("csq-paper", "mds")
    for name in PRESETS:
        (words,) = preset(name, "imagenet100", method="ksh").quirks
        assert words.startswith("A shallow method learns")


def test_alexnet_on_coco_is_a_guess():
    recipe = preset("csq-official", "coco", backbone="alexnet")
    assert recipe.quantization_weight == 1e-3
    assert any("No command for AlexNet on COCO" in words for words in recipe.quirks)


def test_the_paper_differs_where_it_speaks():
    official, paper = (preset(name, "coco") for name in ("csq-official", "csq-paper"))
    assert set(paper.changes(official)) == {
        "preset",
        "centers",
        "ties",
        "quantization",
        "quantization_weight",
        "quirks",
    }
    assert paper.changes(official)["ties"] == ("sample", "shared")


def test_the_public_rerun():
    recipe = preset("deephash", "nus_wide")
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.backbone_multiplier) == ("rmsprop", 1e-5, 1e-5, 1)
    assert (recipe.hidden_layers, recipe.head_std, recipe.n_epochs, recipe.schedule) == (0, 0.01, 150, "constant")
    assert (recipe.quantization, recipe.quantization_weight, recipe.transform) == ("squared", 1e-4, "deephash")
    assert preset("deephash", "nus_wide", backbone="alexnet").head_std is None


def test_ours():
    recipe = preset("ours", "coco", method="ours")
    assert (recipe.centers, recipe.place_centers, recipe.ties) == ("semantic", True, "label_set")
    assert (recipe.optimizer, recipe.schedule, recipe.transform) == ("adamw", "cosine", "timm")
    assert recipe.warmup_epochs > 0
    assert "measured" in recipe.quirks[0]
    assert preset("ours", "coco", method="csq").place_centers


def test_methods_have_what_they_need():
    def centers(name, method):
        recipe = preset(name, "coco", method=method, n_bits=32)
        return recipe.centers, recipe.place_centers, recipe.ties

    assert centers("csq-paper", "csq") == ("paper", False, "sample")
    assert centers("csq-paper", "csq+lp") == ("paper", False, "label_set")
    assert centers("csq-paper", "ours") == ("semantic", True, "label_set")
    for name in PRESETS:
        assert centers(name, "dpn") == ("bernoulli", False, "label_set")
        assert centers(name, "mds") == ("mds", False, "label_set")
        for method in ("hashnet", "face", "cnnh", "ksh"):
            assert centers(name, method) == ("auto", False, "label_set")


def test_unknown_presets_and_methods():
    with pytest.raises(ValueError, match="preset must be one of 'csq-official', .*, got 'best'"):
        preset("best", "coco")
    with pytest.raises(ValueError, match="method must be one of 'csq', 'ours', .*, got 'simclr'"):
        preset("ours", "coco", method="simclr")


def test_fields_by_name():
    with pytest.raises(ValueError, match="a recipe has no field 'batchsize'; did you mean 'batch_size'?"):
        Recipe.from_dict({"preset": "mine", "dataset": "photos", "batchsize": 3})
    with pytest.raises(ValueError, match="a recipe has no field 'zzz'; there are preset, dataset, method"):
        Recipe.from_dict({"preset": "mine", "dataset": "photos", "zzz": 3})
    with pytest.raises(ValueError, match="a recipe needs the field 'dataset', got preset"):
        Recipe.from_dict({"preset": "mine"})
    assert Recipe.from_dict({"preset": "mine", "dataset": "photos"}) == RECIPE


def test_changes():
    assert RECIPE.changes(RECIPE) == {}
    assert RECIPE.changes(changed(n_bits=8, clip_norm=1.0)) == {"n_bits": (64, 8), "clip_norm": (None, 1.0)}


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (name, [-1, math.nan, math.inf], f"{name} must be finite and at least 0, got")
        for name in ("quantization_weight", "backbone_multiplier", "loss_multiplier", "weight_decay", "warmup_epochs")
    ]
    + [(name, [0, -1.0, math.nan], f"{name} must be finite and above 0, got") for name in ("lr", "clip_norm")]
    + [(name, [1, -0.5, math.nan], rf"{name} must lie in \[0, 1\), got") for name in ("dropout", "momentum")]
    + [
        (name, [0], f"{name} must be at least 1, got 0")
        for name in ("n_bits", "step_epochs", "n_epochs", "batch_size", "image_size", "top_k")
    ]
    + [(name, [""], f"{name} must not be empty") for name in ("preset", "dataset", "backbone")]
    + [
        (name, ["odd"], f"{name} must be one of '.*, got 'odd'")
        for name in ("method", "centers", "ties", "quantization", "optimizer", "schedule", "transform")
    ]
    + [
        ("hidden_layers", [-1], "hidden_layers must be at least 0, got -1"),
        ("seed", [-1], "seed must be at least 0, got -1"),
        ("step_factor", [0, 2.0], r"step_factor must lie in \(0, 1\], got"),
        ("head_std", [0.01], "head_std is for a linear head: set hidden_layers=0, got 2"),
        ("head_std", [-1.0], "head_std must be finite and above 0, got -1.0"),
        ("centers", ["semantic"], "centers='semantic' needs place_centers=True"),
    ],
)
def test_values_out_of_range(field, values, message):
    for value in values:
        with pytest.raises(ValueError, match=message):
            changed(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("preset", 3, "preset must be a string, got 3"),
        ("pretrained", 1, "pretrained must be True or False, got 1"),
        ("place_centers", None, "place_centers must be True or False, got None"),
        ("lr", "fast", "lr must be a number, got 'fast'"),
        ("lr", None, "lr must be a number, got None"),
        ("weight_decay", True, "weight_decay must be a number, got True"),
        ("quirks", "odd", "quirks must be a tuple of strings, got 'odd'"),
        ("quirks", (3,), r"quirks must be a tuple of strings, got \(3,\)"),
    ],
)
def test_values_of_other_types(field, value, message):
    with pytest.raises(TypeError, match=message):
        changed(**{field: value})


def test_presets_of_videos():
    for name, dataset, method in itertools.product(
        ("csq-official", "csq-paper", "ours"), ("ucf101", "hmdb51"), DEEP_METHODS
    ):
        recipe = preset(name, dataset, method=method, backbone="resnet50" if method in FRAME_METHODS else "mfnet3d")
        assert recipe.modality == "video"
        assert recipe.transform.endswith("-clip")
        assert recipe.top_k == (100 if dataset == "ucf101" else 70)
        assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
        assert all(words.endswith(".") for words in recipe.quirks)
    official = preset("csq-official", "hmdb51", backbone="mfnet3d")
    assert (official.lr, official.backbone_multiplier) == (1e-3, 1.0)
    assert official.augmented_database
    assert any("match no head" in words for words in official.quirks)
    assert any("fine-tuned on the labels of the same data set" in words for words in official.quirks)
    assert not preset("csq-paper", "hmdb51").augmented_database
    assert preset("ours", "clips", video=True).modality == "video"
    assert preset("ours", "ucf101", video=False).modality == "image"
    with pytest.raises(
        ValueError, match="preset of videos must be one of 'csq-official', 'csq-paper', 'ours', got 'deephash'"
    ):
        preset("deephash", "ucf101")


def test_images_and_videos_are_not_mixed_up():
    for values, message in (
        ({"method": "srh"}, "method 'srh' with backbone 'resnet50' is for videos: modality must be 'video'"),
        ({"backbone": "frames:resnet18"}, "method 'csq' with backbone 'frames:resnet18' is for videos"),
        ({"modality": "video"}, "transform 'csq' does not fit modality 'video'"),
        ({"transform": "csq-clip"}, "transform 'csq-clip' does not fit modality 'image'"),
    ):
        with pytest.raises(ValueError, match=message):
            Recipe(preset="mine", dataset="clips", **values)
