"""Measure a network on a device: plan, rails, energy, statistics."""
