"""Where Python starts the agent: with a verb of the host, or in one of its own roles."""

import sys

from edgesynth.agent.roles import ROLES

if __name__ == "__main__":
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role in ROLES:
        sys.exit(ROLES[role](sys.argv[2:]))
    from edgesynth.agent.program import main

    sys.exit(main(sys.argv[1:]))
