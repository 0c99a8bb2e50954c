"""A benchmark that takes a moment, for any device."""

from edgesynth.devices import BenchRequest

__all__ = ["short_bench"]


def short_bench(device, model, **values):
    """A request to measure a model on a device, with some values of one's own; without power by default."""
    asked = {
        "network": {"model": device.send(model)},
        "precision": "fp16",
        "batch": 1,
        "warm_up_s": 0.05,
        "latency_runs": 20,
        "latency_limit_s": 1.0,
        "idle_s": 0.1,
        "load_s": 0.0,
        "rate_hz": 20.0,
        "mode": "MAXN",
    }
    return BenchRequest(**{**asked, **values})
