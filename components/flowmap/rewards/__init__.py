"""Rewards: one protocol, one file for each kind."""

from flowmap.rewards.mmd import MmdReward
from flowmap.rewards.preference import PreferenceReward
from flowmap.rewards.protocol import Reward

__all__ = ["MmdReward", "PreferenceReward", "Reward"]
