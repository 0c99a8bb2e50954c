"""What the packages offer is what they say they offer."""

import pytest

from edgesynth import devices, profiler


@pytest.mark.parametrize("package", [devices, profiler])
def test_every_public_name_exists_and_is_documented(package):
    for name in package.__all__:
        value = getattr(package, name)
        assert value.__doc__ or name in {"Precision", "Status"}


def test_public_names_are_sorted_and_unique():
    for package in (devices, profiler):
        assert list(package.__all__) == sorted(set(package.__all__))
