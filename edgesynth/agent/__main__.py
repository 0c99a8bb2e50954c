"""Where Python starts the agent: with a verb of the host, or in one of its own roles."""

import os
import sys

from edgesynth.agent.roles import ROLES

_LOCALE = "C.UTF-8"


def _name_files_in_utf8() -> None:
    """Start anew where Python 3.6 takes names of files for another encoding than the host does.

    It does in the C locale, in which an ssh server runs what has none, or one that the board does not know.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("LC_ALL") != _LOCALE:
        os.environ["LC_ALL"] = _LOCALE
        os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    _name_files_in_utf8()
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role in ROLES:
        sys.exit(ROLES[role](sys.argv[2:]))
    from edgesynth.agent.program import main

    sys.exit(main(sys.argv[1:]))
