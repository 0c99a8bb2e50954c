import pytest
from mask_folders import pair
from shape_scenes import shapes_task


@pytest.fixture
def folder(tmp_path):
    """Forty pictures with masks, divided by nobody."""
    for index in range(40):
        pair(tmp_path / "images", tmp_path / "masks", f"{index:02}", index)
    return tmp_path


@pytest.fixture(scope="package")
def task():
    return shapes_task()
