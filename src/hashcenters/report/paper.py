"""What the paper says a run should reach: Tables 1, 2, 3, 5, 6 and 7 of Yuan et al., CVPR 2020."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["METHOD_NAMES", "PAPER_DATA", "PAPER_MAP", "PaperData", "PaperValue", "paper_value"]


class PaperData(NamedTuple):
    """A data set as the paper used it.

    Attributes:
        name: how the paper calls it.
        n_train: training items (Table 1; of videos rounded there).
        n_queries: test queries.
        n_database: items to search in.
        imbalance: dissimilar pairs a similar pair.
        top_k: items that count in average precision.
        backbone: of Table 2 and Table 5.
    """

    name: str
    n_train: int
    n_queries: int
    n_database: int
    imbalance: int
    top_k: int
    backbone: str


PAPER_DATA: Final = {
    "imagenet100": PaperData("ImageNet", 10_000, 5_000, 128_495, 100, 1000, "resnet50"),
    "coco": PaperData("MS COCO", 10_000, 5_000, 112_217, 1, 5000, "resnet50"),
    "nus_wide": PaperData("NUS-WIDE", 10_000, 2_040, 149_685, 5, 5000, "resnet50"),
    "ucf101": PaperData("UCF101", 9_500, 3_800, 9_500, 101, 100, "mfnet3d"),
    "hmdb51": PaperData("HMDB51", 3_500, 1_500, 3_500, 51, 70, "mfnet3d"),
}

METHOD_NAMES: Final = {
    "csq": "CSQ",
    "ours": "CSQ, our recipe",
    "itq-cca": "ITQ-CCA",
    "bre": "BRE",
    "ksh": "KSH",
    "sdh": "SDH",
    "cnnh": "CNNH",
    "dnnh": "DNNH",
    "dhn": "DHN",
    "hashnet": "HashNet",
    "dch": "DCH",
    "face": "Face centers",
    "magnet": "Magnet centers",
    "repmet": "RepMet centers",
    "csq+lp": "L_C + L_P + L_Q",
    "lp+lq": "L_P + L_Q",
    "csq-no-lq": "L_C alone",
    "dh": "DH",
    "srh": "SRH",
    "dvh": "DVH",
}

_BITS = (16, 32, 64)
_ANY = "any"  # numbers that the paper took over from earlier works, or whose backbone it does not name

# By data set and backbone, the columns 16, 32 and 64 bits of a method's row.
_TABLES: Final[dict[tuple[str, str], dict[str, tuple[float, float, float]]]] = {
    ("imagenet100", _ANY): {  # Table 2
        "itq-cca": (0.266, 0.436, 0.576),
        "bre": (0.063, 0.253, 0.358),
        "ksh": (0.160, 0.298, 0.394),
        "sdh": (0.299, 0.455, 0.585),
    },
    ("imagenet100", "resnet50"): {  # Tables 2 and 3, then 6, then 7
        "cnnh": (0.315, 0.473, 0.596),
        "dnnh": (0.353, 0.522, 0.610),
        "dhn": (0.367, 0.522, 0.627),
        "hashnet": (0.622, 0.701, 0.739),
        "dch": (0.652, 0.737, 0.758),
        "csq": (0.851, 0.865, 0.873),
        "csq+lp": (0.847, 0.870, 0.871),
        "lp+lq": (0.551, 0.629, 0.655),
        "csq-no-lq": (0.841, 0.864, 0.870),
        "face": (0.718, 0.723, 0.744),
        "magnet": (0.758, 0.801, 0.818),
        "repmet": (0.804, 0.815, 0.827),
    },
    ("imagenet100", "alexnet"): {  # Table 3
        "cnnh": (0.282, 0.453, 0.548),
        "dnnh": (0.303, 0.457, 0.572),
        "dhn": (0.318, 0.473, 0.569),
        "hashnet": (0.506, 0.631, 0.684),
        "dch": (0.529, 0.637, 0.664),
        "csq": (0.601, 0.653, 0.695),
    },
    ("coco", _ANY): {  # Table 2
        "itq-cca": (0.566, 0.562, 0.502),
        "bre": (0.592, 0.622, 0.634),
        "ksh": (0.521, 0.534, 0.536),
        "sdh": (0.554, 0.564, 0.580),
    },
    ("coco", "resnet50"): {
        "cnnh": (0.599, 0.617, 0.620),
        "dnnh": (0.644, 0.651, 0.647),
        "dhn": (0.719, 0.731, 0.745),
        "hashnet": (0.745, 0.773, 0.788),
        "dch": (0.759, 0.801, 0.825),
        "csq": (0.796, 0.838, 0.861),
    },
    ("nus_wide", _ANY): {  # Table 2
        "itq-cca": (0.435, 0.435, 0.435),
        "bre": (0.485, 0.525, 0.544),
        "ksh": (0.394, 0.407, 0.399),
        "sdh": (0.575, 0.590, 0.613),
    },
    ("nus_wide", "resnet50"): {
        "cnnh": (0.655, 0.659, 0.647),
        "dnnh": (0.703, 0.738, 0.754),
        "dhn": (0.712, 0.759, 0.771),
        "hashnet": (0.757, 0.775, 0.790),
        "dch": (0.773, 0.795, 0.818),
        "csq": (0.810, 0.825, 0.839),
    },
    ("ucf101", _ANY): {  # Table 5
        "dh": (0.300, 0.290, 0.470),
        "srh": (0.716, 0.692, 0.754),
        "dvh": (0.701, 0.705, 0.712),
    },
    ("ucf101", "mfnet3d"): {  # Tables 5, 6 and 7
        "csq": (0.838, 0.875, 0.874),
        "csq+lp": (0.840, 0.868, 0.881),
        "lp+lq": (0.716, 0.739, 0.784),
        "csq-no-lq": (0.824, 0.854, 0.867),
        "face": (0.693, 0.745, 0.817),
        "magnet": (0.715, 0.793, 0.821),
        "repmet": (0.781, 0.829, 0.835),
    },
    ("hmdb51", _ANY): {  # Table 5
        "dh": (0.360, 0.360, 0.310),
        "srh": (0.491, 0.503, 0.509),
        "dvh": (0.441, 0.456, 0.518),
    },
    ("hmdb51", "mfnet3d"): {"csq": (0.527, 0.565, 0.579)},
}

# By (data set, method, backbone, bits); the backbone is "any" where the paper took numbers over or names none.
PAPER_MAP: Final[dict[tuple[str, str, str, int], float]] = {
    (dataset, method, backbone, n_bits): value
    for (dataset, backbone), rows in _TABLES.items()
    for method, row in rows.items()
    for n_bits, value in zip(_BITS, row, strict=True)
}


class PaperValue(NamedTuple):
    """The paper's number that stands beside a run.

    Attributes:
        map: mean average precision.
        method: whose; of our recipe, "csq".
        backbone: with which, or "any".
    """

    map: float
    method: str
    backbone: str


def paper_value(dataset: str, method: str, backbone: str, n_bits: int) -> PaperValue | None:
    """Look up the paper's mean average precision for a run.

    Args:
        dataset: a key of ``PAPER_DATA``.
        method: a key of ``METHOD_NAMES``.
        backbone: name of a network; a tag of its weights after a dot is ignored.
        n_bits: code length.

    Returns:
        The number for this backbone, else the one of Table 2 or 5; None where there is none.

    Examples:
        >>> paper_value("imagenet100", "csq", "resnet50.tv_in1k", 64)
        PaperValue(map=0.873, method='csq', backbone='resnet50')
        >>> paper_value("coco", "ours", "lite0", 16)
        PaperValue(map=0.796, method='csq', backbone='resnet50')
        >>> paper_value("coco", "csq", "resnet50", 48) is None
        True
    """
    method = "csq" if method == "ours" else method
    default = PAPER_DATA[dataset].backbone if dataset in PAPER_DATA else _ANY
    for name in (backbone.lower().split(".")[0], _ANY, default):
        if (value := PAPER_MAP.get((dataset, method, name, n_bits))) is not None:
            return PaperValue(value, method, name)
    return None
