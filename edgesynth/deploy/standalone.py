"""The file of a bundle that runs its engine on the board; it is made of modules of the agent."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from edgesynth.errors import EdgesynthError

__all__ = ["RUNNER", "standalone_runner"]

RUNNER: Final = "runner.py"
"""Its name in a bundle."""

_SOURCE: Final = Path(__file__).resolve().parents[1] / "agent"
_MODULES: Final = (
    *("errors", "batches", "places", "board_module", "cuda", "cuda_graph", "dla", "tensors", "engine", "npy"),
    *("inference", "detections", "answers", "manifest", "standalone"),
)
_OWN: Final = "edgesynth.agent"


def standalone_runner() -> str:
    """The program, for Python 3.6 and later; its last part says how it is used.

    Raises:
        EdgesynthError: Two of the modules define the same name, which is a fault of ours.
    """
    texts = {name: (_SOURCE / f"{name}.py").read_text() for name in _MODULES}
    imports: dict[str, set[str]] = {}
    plain: set[str] = set()
    bodies, owners = [], dict[str, str]()
    for name, text in texts.items():
        tree = ast.parse(text)
        for node in tree.body:
            if isinstance(node, ast.Import):
                plain |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith(_OWN):
                imports.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
            for defined in _defined(node):
                if defined != "__all__" and owners.setdefault(defined, name) != name:
                    raise EdgesynthError(
                        f"{owners[defined]} and {name} of the agent both define {defined}; rename one"
                    )
        bodies.append(_body(text, tree))
    head = [f"import {name}" for name in sorted(plain)]
    head += [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    says = ast.get_docstring(ast.parse(texts["standalone"]), clean=False)
    return "\n".join([f'"""{says}"""', "", *head, "", "", "\n\n\n".join(bodies), ""])


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _body(text: str, tree: ast.Module) -> str:
    """A module without its docstring, imports and list of names."""
    lines = text.splitlines()
    for node in tree.body:
        says = isinstance(node, ast.Expr) and node is tree.body[0]
        if says or isinstance(node, ast.Import | ast.ImportFrom) or "__all__" in _defined(node):
            assert node.end_lineno is not None
            for number in range(node.lineno - 1, node.end_lineno):
                lines[number] = ""
    return "\n".join(lines).strip("\n")
