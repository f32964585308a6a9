"""What runs inside a pipeline step: data, maps, kernels, rewards, training, evaluation, registry."""

__version__ = "0.1.0"
