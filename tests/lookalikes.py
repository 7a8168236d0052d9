"""Tiny data sets in the real on-disk format, with pictures that a network can learn: a colour and stripes a class."""

import colorsys
import json
from pathlib import Path

import numpy as np
from PIL import Image

from hashcenters.data.images import IMAGENET100_WNIDS

# COCO's category ids: 1..90 without ten that were never used.
COCO_IDS = [k for k in range(1, 91) if k not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
NUS_CONCEPTS = """
airport animal beach bear birds boats book bridge buildings cars castle cat cityscape clouds computer coral
cow dancing dog earthquake elk fire fish flags flowers food fox frost garden glacier grass harbor horses house
lake leaf map military moon mountain nighttime ocean person plane plants police protest railroad rainbow
reflection road rocks running sand sign sky snow soccer sports statue street sun sunset surf swimmers tattoo
temple tiger tower town toy train tree valley vehicle water waterfall wedding whales window zebra
"""
NUS_FREQUENT = """
animal beach buildings cars clouds flowers grass lake mountain ocean person plants reflection road rocks sky snow sunset
vehicle water window
"""


def imagenet_tree(folder, *, n_classes=100, n_train=5, n_val=1, seed=0):
    """Write ``train/<wnid>/*.JPEG`` and ``val/<wnid>/*.JPEG``; as in ImageNet, one file is CMYK and one a PNG."""
    folder, rng = Path(folder), np.random.default_rng(seed)
    number = 0
    for k, wnid in enumerate(IMAGENET100_WNIDS[:n_classes]):
        for split, n in (("train", n_train), ("val", n_val)):
            place = folder / split / wnid
            place.mkdir(parents=True, exist_ok=True)
            for i in range(n):
                number += 1
                name = f"{wnid}_{rng.integers(10)}{i}.JPEG" if split == "train" else f"ILSVRC2012_val_{number:08}.JPEG"
                picture = _picture(rng, [k])
                if split == "train" and (k, i) == (0, 0):
                    picture = picture.convert("CMYK")
                picture.save(place / name, "PNG" if (split, k, i) == ("train", 1, 0) else "JPEG", quality=90)
    return folder


def coco_tree(folder, *, n_images=150, n_categories=80, year="2014", seed=0):
    """Write ``annotations/instances_{train,val}<year>.json`` and the images of both folders.

    Category ids have gaps, every tenth image has no annotations, and some have an object twice or as a crowd.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    (folder / "annotations").mkdir(parents=True)
    used = COCO_IDS[:n_categories]
    categories = [{"supercategory": "thing", "id": k, "name": f"thing {k}"} for k in used]
    parts = {part: {"info": {}, "licenses": [], "images": [], "annotations": []} for part in ("train", "val")}
    for i in range(n_images):
        part = "train" if i % (3 if year == "2014" else 5) else "val"  # the releases share the images out differently
        labels = [] if i % 10 == 9 else [i % n_categories]  # every category has images
        labels += [int(k) for k in rng.choice(n_categories, min(n_categories, 2), replace=False) if labels]
        labels = list(dict.fromkeys(labels))
        picture = _picture(rng, labels)
        image_id = 7 + 13 * ((i * 37) % 1009)  # in no order
        name = f"COCO_{part}2014_{image_id:012}.jpg" if year == "2014" else f"{image_id:012}.jpg"
        place = folder / f"{part}{year}"
        place.mkdir(exist_ok=True)
        picture.save(place / name, quality=90)
        width, height = picture.size
        parts[part]["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for j, k in enumerate(labels + labels[:1]):
            crowd = j == 1
            outline = (
                {"size": [height, width], "counts": [0, width * height]} if crowd else [[0, 0, width, 0, 0, height]]
            )
            parts[part]["annotations"].append(
                {
                    "id": 1000 * i + j,
                    "image_id": image_id,
                    "category_id": used[k],
                    "iscrowd": int(crowd),
                    "segmentation": outline,
                    "area": 1.0,
                    "bbox": [0, 0, width, height],
                }
            )
    for part, content in parts.items():
        file = folder / "annotations" / f"instances_{part}{year}.json"
        file.write_text(json.dumps({**content, "categories": categories}), encoding="utf-8")
    return folder


def nus_wide_tree(folder, *, n_images=200, labels=("AllLabels", "TrainTestLabels"), seed=0):
    """Write the official lists (backslashes and all), the tag files of ``labels``, and ``Flickr/<concept>/*.jpg``.

    Of the 81 concepts, the 21 of ``NUS_FREQUENT`` are the most frequent; every tenth image has none of them.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    concepts, frequent = NUS_CONCEPTS.split(), NUS_FREQUENT.split()
    rare = [concept for concept in concepts if concept not in frequent]
    (folder / "ItemList").mkdir(parents=True)
    (folder / "Concepts81.txt").write_text("".join(f"{concept} \n" for concept in concepts), encoding="utf-8")
    tags = []
    for i in range(n_images):
        few = i % 10 == 9
        mine = [rare[i // 10 % len(rare)]] if few else [frequent[i % 21], *rng.choice(frequent, 2)]
        mine = list(dict.fromkeys(str(concept) for concept in mine))
        name = f"{mine[0]}/{i + 1:04}_{rng.integers(10**8, 10**9)}.jpg"
        (folder / "Flickr" / mine[0]).mkdir(parents=True, exist_ok=True)
        _picture(rng, [concepts.index(concept) for concept in mine]).save(folder / "Flickr" / name, quality=90)
        tags.append((name, mine))
    shuffled = [tags[i] for i in rng.permutation(n_images)]
    half = 3 * n_images // 5
    for kind, image_list, ending, rows in (
        ("AllLabels", "Imagelist.txt", "", sorted(tags)),
        ("TrainTestLabels", "TrainImagelist.txt", "_Train", shuffled[:half]),
        ("TrainTestLabels", "TestImagelist.txt", "_Test", shuffled[half:]),
    ):
        text = "".join(name.replace("/", "\\") + "\n" for name, _ in rows)
        (folder / "ItemList" / image_list).write_text(text, encoding="utf-8")
        if kind in labels:
            (folder / kind).mkdir(exist_ok=True)
            for concept in concepts:
                column = "".join(f"{int(concept in mine)}\n" for _, mine in rows)
                (folder / kind / f"Labels_{concept}{ending}.txt").write_text(column, encoding="utf-8")
    return folder


def list_tree(folder, *, n_classes=10, n_train=40, n_queries=10, n_others=20, multi_label=False, seed=0):
    """Write ``lists/{train,test,database}.txt`` and ``images/``; the database is the training images and others."""
    folder, rng = Path(folder), np.random.default_rng(seed)
    lines = {}
    for part, n in (("train", n_train), ("test", n_queries), ("others", n_others)):
        (folder / "images" / part).mkdir(parents=True)
        lines[part] = []
        for i in range(n):
            labels = {i % n_classes, *(rng.choice(n_classes, 1).tolist() if multi_label else ())}
            name = f"{part}/my photo {i}.jpg" if i % 5 == 0 else f"{part}/{i}.jpg"
            _picture(rng, sorted(labels)).save(folder / "images" / name, quality=90)
            lines[part].append(" ".join([name, *(str(int(k in labels)) for k in range(n_classes))]) + "\n")
    lines["database"] = lines["train"] + lines.pop("others")
    (folder / "lists").mkdir()
    for part, rows in lines.items():
        (folder / "lists" / f"{part}.txt").write_text("".join(rows), encoding="utf-8")
    return folder


def _picture(rng, labels):
    """Draw a strip for each label: its colour, with stripes of its direction and width, and a little noise."""
    width, height = int(rng.integers(40, 65)), int(rng.integers(32, 49))
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width, 3), 128.0)
    for place, k in enumerate(labels):
        strip = (x * len(labels) // width) == place
        colour = 255 * np.array(colorsys.hsv_to_rgb(0.618034 * k % 1, 0.5 + 0.5 * (k % 3) / 2, 0.9))
        angle = np.pi * (k % 5) / 5
        wave = np.cos((x * np.cos(angle) + y * np.sin(angle)) * (0.5 + 0.25 * (k % 4)))
        pixels[strip] = (colour * (0.7 + 0.3 * wave[..., None]))[strip]
    pixels += rng.normal(0, 12, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
