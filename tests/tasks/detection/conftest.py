import pytest
from detection_answers import HEADS
from detection_shapes import shapes_task


@pytest.fixture(params=HEADS)
def task(request):
    return shapes_task(head=request.param)
