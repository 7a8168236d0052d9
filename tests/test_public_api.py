"""The front door: removing a name is a visible edit, and opening it costs nothing beyond torch and numpy."""

import subprocess
import sys

import hashcenters

PUBLIC = {
    "CentralSimilarityLoss",
    "HammingIndex",
    "HammingRetrievalEvaluator",
    "HashCenterGenerator",
    "HashHead",
    "RetrievalResult",
    "assign_centers",
    "center_report",
    "central_similarity_loss",
    "load_centers",
    "multilabel_centers",
    "nearest_center",
    "save_centers",
    "similarity_from_confusion",
    "similarity_from_features",
}


def test_public_names():
    assert set(hashcenters.__all__) == PUBLIC | {"__version__"}
    assert all(hasattr(hashcenters, name) for name in PUBLIC)


def test_import_loads_nothing_heavy():
    heavy = {"numba", "scipy", "timm", "torchvision", "matplotlib", "sklearn", "tqdm", "safetensors", "faiss"}
    heavy |= {"pymilvus", "torch._dynamo", "accelerate"}
    code = "import sys, torch, numpy; before = set(sys.modules); import hashcenters; "
    code += f"print({heavy} & (set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
