"""The common rooms: backbones, the trainer, checkpoints, runs, and everything that shows frames."""

__version__ = "0.1.0"
