"""Agents that learn Atari games from raw frames, and the ones that ship."""

from agents.agent import Agent, cards, load, zoo

__all__ = ["Agent", "cards", "load", "zoo"]
