"""The agent's own child processes.

Each imports what it needs and no more: the board compiles what is imported anew at every start.
"""

from typing import Callable, Dict, List

__all__ = ["ROLES"]


def _guard(arguments: List[str]) -> int:
    from edgesynth.agent.duties import serve

    return serve()


def _run(arguments: List[str]) -> int:
    from edgesynth.agent.runner import serve

    return serve()


def _build(arguments: List[str]) -> int:
    from edgesynth.agent.builder import serve

    return serve()


def _rails(arguments: List[str]) -> int:
    from edgesynth.agent.ina import print_lines

    return print_lines(int(arguments[0]) / 1e3, 1)


def _job(arguments: List[str]) -> int:
    from edgesynth.agent.program import serve_job

    return serve_job(arguments[0], arguments[1], int(arguments[2]))


ROLES: Dict[str, Callable[[List[str]], int]] = {
    "_guard": _guard,  # puts the board back
    "_run": _run,  # runs the network
    "_build": _build,  # builds an engine
    "_rails": _rails,  # prints the INA chips' power
    "_job": _job,  # does a verb without a link
}
