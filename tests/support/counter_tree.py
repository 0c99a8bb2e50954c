"""Energy counters that are not there: the files of RAPL, advanced by a thread at a known power."""

import threading
import time

RANGE_UJ = 262_143_328_850


class CounterTree:
    """What the kernel shows of RAPL counters that run at a known power.

    Attributes:
        root: Stands for ``/sys/class/powercap``.
    """

    def __init__(self, root):
        self.root = root
        self._power_mw = {}
        self._start_uj = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._advance)

    def add(self, zone, name, power_mw=0, start_uj=0, range_uj=RANGE_UJ):
        folder = self.root / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "energy_uj").write_text(f"{start_uj}\n")
        self._power_mw[zone], self._start_uj[zone] = power_mw, start_uj

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _advance(self):
        begin_s = time.monotonic()
        while not self._stop.wait(0.001):
            for zone, power_mw in self._power_mw.items():
                used_uj = int(1e3 * power_mw * (time.monotonic() - begin_s))
                scratch = self.root / f"{zone}.new"  # replaced whole: a reader never sees half a number
                scratch.write_text(f"{(self._start_uj[zone] + used_uj) % RANGE_UJ}\n")
                scratch.replace(self.root / zone / "energy_uj")
