import os

os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import pytest
import torch

# Two threads of torch on a busy two-core machine can be a hundred times slower than one.
torch.set_num_threads(1)

hypothesis.settings.register_profile("default", deadline=None, print_blob=True, max_examples=60)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
