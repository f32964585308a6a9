"""Rewards: one protocol, one file for each kind, and how a list of settings becomes a list of rewards."""

from flowmap.rewards.protocol import Reward, Samples, Weighted

__all__ = ["Reward", "Samples", "Weighted"]
