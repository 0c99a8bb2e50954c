"""How many samples a call of an engine takes: one number, or any from a least to a most."""

from typing import Any, List, NamedTuple

__all__ = ["Batches", "batches_of"]


class Batches(NamedTuple):
    """What TensorRT calls an optimisation profile, of the batch alone.

    Attributes:
        least: Samples that a call takes at the least.
        usual: For how many the kernels are chosen.
        most: Samples that a call takes at the most, for which memory is allocated.
    """

    least: int
    usual: int
    most: int

    @property
    def fixed(self) -> bool:
        """Whether every call takes as many."""
        return self.least == self.most

    @property
    def text(self) -> str:
        """As it is asked for: ``8``, ``1..16``, or ``1..8..16`` where the most is not the usual."""
        if self.fixed:
            return str(self.most)
        return "..".join(map(str, self if self.usual != self.most else (self.least, self.most)))

    def takes(self, samples: int) -> bool:
        """Whether one call may have so many."""
        return self.least <= samples <= self.most

    def calls(self, samples: int) -> List[int]:
        """Sizes of the fewest calls that so many samples need: the most in each, and what is left.

        Where less is left than a call takes, the one before it leaves as much as that lacks. None where no
        calls of these sizes have so many.
        """
        count = -(-samples // self.most)
        if count * self.least > samples:
            return []
        sizes: List[int] = []
        for later in reversed(range(count)):
            sizes.append(min(self.most, samples - sum(sizes) - later * self.least))
        return sizes


def batches_of(value: Any) -> Batches:
    """From one number, or from the least, the usual and the most.

    Raises:
        ValueError: It is neither, or they do not rise from 1 on.
    """
    numbers = (value,) * 3 if isinstance(value, int) else tuple(value)
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    if not whole or len(numbers) != 3 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
        raise ValueError("{!r} is no number of samples, and no least, usual and most of them".format(value))
    return Batches(*numbers)
