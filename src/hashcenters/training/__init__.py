"""The training loop, on Hugging Face accelerate, and what goes around it. Needs the extra ``training``.

Whole runs in a folder are in ``hashcenters.training.run`` and ``hashcenters.training.images``, which need ``timm``,
``images`` and ``plots`` too.
"""

from hashcenters.training.batches import EpochBatches, TensorBatches, held_out_split
from hashcenters.training.loop import Epoch, fit, make_accelerator, trainable_parameters
from hashcenters.training.optimization import make_optimizer, make_schedule, parameter_groups
from hashcenters.training.recipes import PRESETS, Recipe, preset
from hashcenters.training.sweep import WeightSweep, sweep_quantization_weight

__all__ = [
    "PRESETS",
    "Epoch",
    "EpochBatches",
    "Recipe",
    "TensorBatches",
    "WeightSweep",
    "fit",
    "held_out_split",
    "make_accelerator",
    "make_optimizer",
    "make_schedule",
    "parameter_groups",
    "preset",
    "sweep_quantization_weight",
    "trainable_parameters",
]
