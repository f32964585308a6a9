"""Small networks for pixels and vectors, and how one is kept in an artifact."""

from flowmap.networks.modulated_mlp import ModulatedMLP
from flowmap.networks.stored import ModelFacts, load_network, read_model_facts, save_weights, write_model_facts

__all__ = ["ModelFacts", "ModulatedMLP", "load_network", "read_model_facts", "save_weights", "write_model_facts"]
