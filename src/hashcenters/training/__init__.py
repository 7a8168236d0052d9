"""The training loop, on Hugging Face accelerate, and what goes around it. Needs the extra ``training``."""

from hashcenters.training.batches import TensorBatches
from hashcenters.training.loop import Epoch, fit, trainable_parameters
from hashcenters.training.sweep import WeightSweep, sweep_quantization_weight

__all__ = ["Epoch", "TensorBatches", "WeightSweep", "fit", "sweep_quantization_weight", "trainable_parameters"]
