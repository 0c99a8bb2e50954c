"""Device profiles, the links that reach a device, leases and pools of devices, and the simulated board.

``open_device("jetson-tx2", link="simulated")`` gives a :class:`Device`; what it reports is labelled with
its provenance wherever it goes. :mod:`edgesynth.profiler` turns a device and a network into figures.
"""

from edgesynth.devices.bench import BenchRequest, Recording
from edgesynth.devices.board import Board
from edgesynth.devices.catalog import list_profiles, load_profile
from edgesynth.devices.clock import Clock, SystemClock, VirtualClock
from edgesynth.devices.device import Device, open_device
from edgesynth.devices.examination import Examination, Lack, examine
from edgesynth.devices.fusion import fuse, workload_from_cost
from edgesynth.devices.lease import Lease
from edgesynth.devices.link import Completed, Line, Link, Stream
from edgesynth.devices.local import LocalLink
from edgesynth.devices.pool import Pool
from edgesynth.devices.pooled import PooledDevice, open_boards
from edgesynth.devices.profile import Mode, Precision, Profile
from edgesynth.devices.profile_writer import profile_toml
from edgesynth.devices.roofline import Estimate, Roofline
from edgesynth.devices.simulated import SimulatedLink
from edgesynth.devices.simulated_bench import Faults
from edgesynth.devices.ssh import SshLink
from edgesynth.devices.workload import LayerWork, Workload

__all__ = [
    "BenchRequest",
    "Board",
    "Clock",
    "Completed",
    "Device",
    "Estimate",
    "Examination",
    "Faults",
    "Lack",
    "LayerWork",
    "Lease",
    "Line",
    "Link",
    "LocalLink",
    "Mode",
    "Pool",
    "PooledDevice",
    "Precision",
    "Profile",
    "Recording",
    "Roofline",
    "SimulatedLink",
    "SshLink",
    "Stream",
    "SystemClock",
    "VirtualClock",
    "Workload",
    "examine",
    "fuse",
    "list_profiles",
    "load_profile",
    "open_boards",
    "open_device",
    "profile_toml",
    "workload_from_cost",
]
