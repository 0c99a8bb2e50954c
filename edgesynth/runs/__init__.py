"""The run folder: records, checkpoints, resume."""
