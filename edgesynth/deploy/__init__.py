"""From a network to files a device runs, and to an engine that is installed there.

``edgesynth.deploy(network, device)`` is the public function. It has the name of this package, so the package
can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgesynth.deploy.outcome import Deployment


class _Verb(ModuleType):
    """A module that does what it is called."""

    def __call__(self, *arguments: Any, **options: Any) -> Deployment:  # noqa: ANN401 - those of deploy()
        """See :func:`edgesynth.deploy.deployment.deploy`."""
        from edgesynth.deploy.deployment import deploy

        return deploy(*arguments, **options)


sys.modules[__name__].__class__ = _Verb
