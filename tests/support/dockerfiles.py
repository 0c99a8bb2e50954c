"""What the files of ``docker/`` say, for the tests that hold them against something."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker"
README = (FOLDER / "README.md").read_text()
HOST, BOARD = FOLDER / "host.Dockerfile", FOLDER / "board.Dockerfile"


class Step(NamedTuple):
    verb: str
    text: str


def steps(path: Path) -> list[Step]:
    """The instructions of a Dockerfile; that it is one is for hadolint to say."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def arguments(path: Path) -> dict[str, str]:
    return dict(step.text.split("=", 1) for step in steps(path) if step.verb == "ARG")


def copies(path: Path) -> list[tuple[list[str], str]]:
    """What is copied from the checkout: sources, destination."""
    words = [step.text.split() for step in steps(path) if step.verb == "COPY"]
    return [(line[:-1], line[-1]) for line in words if not line[0].startswith("--from")]


def commands() -> list[list[str]]:
    """Every docker command of the README, as words."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line[line.index("docker ") :]) for line in lines]


def option(words: list[str], name: str) -> list[str]:
    return [words[index + 1] for index, word in enumerate(words) if word == name]


class Row(NamedTuple):
    """One line of L4T in the README's table."""

    l4t: str
    jetpack: str
    base: str
    python: str
    tensorrt: str
    where: str

    def holds(self, release: str) -> bool:
        """Whether a release of L4T is of this line."""
        return f"{release}.".startswith(f"{self.l4t}.")


def table() -> list[Row]:
    """The table of L4T lines."""
    rows = re.findall(r"^\| (R\d.*) \|$", README, re.MULTILINE)
    return [Row(*(cell.strip().strip("`") for cell in row.split("|"))) for row in rows]


def software() -> dict[str, dict[str, str]]:
    profiles = [tomllib.loads(path.read_text()) for path in sorted((ROOT / "profiles").glob("jetson-*.toml"))]
    return {profile["name"]: profile["software"] for profile in profiles}
