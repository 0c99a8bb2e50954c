"""The user's own code is found beside the job file, and its faults are shown by line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesynth.errors import JobError
from edgesynth.job.reference import call, load_reference, users_fault
from edgesynth.tasks import bootstrap_interval


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_callable_beside_the_job_file_is_found(tmp_path: Path) -> None:
    written(tmp_path, "beside.py", "def build(width=3):\n    return width * 2\n")
    build = load_reference("beside:build", tmp_path)
    assert call(build, "beside:build", {"width": 5}, {}) == 10


def test_a_dotted_module_and_a_nested_name_are_found(tmp_path: Path) -> None:
    written(tmp_path, "pack/__init__.py", "")
    written(
        tmp_path,
        "pack/inner.py",
        "class Nets:\n    @staticmethod\n    def small():\n        return 'small'\n",
    )
    assert load_reference("pack.inner:Nets.small", tmp_path)() == "small"


def test_offered_arguments_are_given_only_to_those_who_name_them(tmp_path: Path) -> None:
    written(
        tmp_path, "offers.py", "def one(classes):\n    return classes\n\ndef none():\n    return 'none'\n"
    )
    offered = {"classes": 7, "in_channels": 3}
    assert call(load_reference("offers:one", tmp_path), "offers:one", {}, offered) == 7
    assert call(load_reference("offers:none", tmp_path), "offers:none", {}, offered) == "none"


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=rf"no module 'nowhere' in {tmp_path}"):
        load_reference("nowhere:build", tmp_path)


def test_a_misspelt_module_suggests_the_file_beside_the_job(tmp_path: Path) -> None:
    written(tmp_path, "mynet.py", "def build():\n    pass\n")
    with pytest.raises(JobError, match="did you mean 'mynet'"):
        load_reference("mynt:build", tmp_path)


def test_a_file_name_is_answered_with_the_module_name(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="mynet:build"):
        load_reference("mynet.py:build", tmp_path)


def test_a_missing_name_suggests_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, "names.py", "def build_net():\n    pass\n")
    with pytest.raises(JobError, match=r"names\.py has no 'build_nte'; did you mean 'build_net'"):
        load_reference("names:build_nte", tmp_path)


def test_an_error_while_importing_shows_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, "broken.py", "x = 1\n\ny = x / 0\n")
    with pytest.raises(JobError, match=rf"ZeroDivisionError.*{path}, line 3: y = x / 0"):
        load_reference("broken:build", tmp_path)


def test_a_syntax_error_shows_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, "typo.py", "def build(:\n    pass\n")
    with pytest.raises(JobError, match=rf"SyntaxError.*{path}, line 1"):
        load_reference("typo:build", tmp_path)


def test_a_missing_package_of_the_users_module_is_named_with_the_line(tmp_path: Path) -> None:
    written(tmp_path, "needs.py", "import a_package_nobody_has\n")
    with pytest.raises(JobError, match=r"a_package_nobody_has.*needs\.py, line 1"):
        load_reference("needs:build", tmp_path)


def test_an_error_while_calling_shows_the_deepest_line_of_the_users_code(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "calls.py",
        "import json\n\ndef inner():\n    return json.loads('{')\n\ndef build():\n    return inner()\n",
    )
    with pytest.raises(JobError, match=rf"JSONDecodeError.*{path}, line 4: return json\.loads"):
        call(load_reference("calls:build", tmp_path), "calls:build", {}, {})


def test_arguments_the_callable_does_not_take_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "takes.py", "def build(width):\n    return width\n")
    build = load_reference("takes:build", tmp_path)
    with pytest.raises(JobError, match="depth"):
        call(build, "takes:build", {"width": 1, "depth": 2}, {})
    with pytest.raises(JobError, match=r"missing a required argument: 'width'.*arguments = "):
        call(build, "takes:build", {}, {})


def test_something_that_cannot_be_called_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "value.py", "build = 3\n")
    with pytest.raises(JobError, match="is a int, not a callable"):
        load_reference("value:build", tmp_path)


@pytest.mark.parametrize("reference", [":build", "module:", "a:b:c", "module:.x"])
def test_a_malformed_reference_shows_the_form(tmp_path: Path, reference: str) -> None:
    with pytest.raises(JobError, match=r"package\.module:callable"):
        load_reference(reference, tmp_path)


def test_a_module_of_the_same_name_from_elsewhere_is_not_taken_for_the_users(tmp_path: Path) -> None:
    written(tmp_path / "one", "twin.py", "def build():\n    return 1\n")
    written(tmp_path / "two", "twin.py", "def build():\n    return 2\n")
    assert load_reference("twin:build", tmp_path / "one")() == 1
    with pytest.raises(JobError, match="already loaded"):
        load_reference("twin:build", tmp_path / "two")


def test_a_fault_is_the_users_where_their_code_raised_it_or_a_library_that_it_called(tmp_path: Path) -> None:
    path = written(tmp_path, "faulty.py", "import json\n\ndef own():\n    json.loads('{')\n")
    with pytest.raises(ValueError, match="Expecting") as caught:
        load_reference("faulty:own", tmp_path)()
    assert users_fault(caught.value).endswith(f"({path}, line 4: json.loads('{{'))")
    with pytest.raises(TypeError) as ours:
        bootstrap_interval(None, 3)  # type: ignore[arg-type]
    assert users_fault(ours.value) == ""
