"""``python -m edgesynth`` is the ``edgesynth`` command."""

from __future__ import annotations

import sys

from edgesynth.cli import main

sys.exit(main())
