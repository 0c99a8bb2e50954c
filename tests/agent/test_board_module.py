"""An engine belongs to the module it was built on: boards of one chip are told apart, carriers are not."""

import pytest

from edgesynth.agent.board_module import name_module, same_module

ORIN, XAVIER, TX2 = "nvidia,tegra234", "nvidia,tegra194", "nvidia,tegra186"


@pytest.mark.parametrize(
    ("compatible", "model", "name"),
    [
        (["nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", ORIN], "", "Orin Nano, 8"),
        # The carrier's maker calls it by the name of another module.
        (["nvidia,p3768-0000+p3767-0003", ORIN], "NVIDIA Jetson Orin NX Developer Kit", "Orin Nano, 8"),
        (["nvidia,p3768-0000+p3767-0004", ORIN], "NVIDIA Jetson Orin Nano Developer Kit", "Orin Nano, 4"),
        (["nvidia,p3509-0000+p3767-0001", ORIN], "", "Orin NX, 8"),
        (["acme,box", "nvidia,p3767", ORIN], "NVIDIA Jetson Orin Nano on a box", "Orin Nano"),
        # A number without its last part belongs to several modules, and says less than a name.
        (["nvidia,p3701", ORIN], "NVIDIA Jetson Orin Nano Developer Kit", "Orin Nano"),
        (["nvidia,p3668", XAVIER], "Acme Box", "Xavier NX, 6"),
        (["nvidia,p3737-0000+p3701-0000", "nvidia,p3701-0000", ORIN], "", "AGX Orin, 16"),
        (["nvidia,p3737-0000+p3701-0004", ORIN], "", "AGX Orin, 14"),
        (["nvidia,p2972-0000", XAVIER], "Jetson-AGX", "AGX Xavier, 8"),
        (["nvidia,p2822-0000+p2888-0004", XAVIER], "", "AGX Xavier, 8"),
        (["nvidia,p3449-0000+p3668-0000", "nvidia,p3509-0000+p3668-0001", XAVIER], "", "Xavier NX, 6"),
        (["nvidia,quill", TX2], "quill", "TX2, 2"),
        (["nvidia,p3509-0000+p3636-0001", TX2], "", "TX2 NX, 2"),
        (["nvidia,jetson-nano", "nvidia,p3450-0000", "nvidia,tegra210"], "", "Nano, 1 multiprocessor"),
        # What lists two modules has not said which one it is.
        (["nvidia,p3767-0000", "nvidia,p3767-0003", ORIN], "", ""),
        (["acme,box", ORIN], "Acme Box", ""),
        ([], "", ""),
    ],
)
def test_the_part_number_names_the_module_and_else_the_board_does(compatible, model, name):
    found = name_module(compatible, model)

    assert found == (name + " multiprocessors" if name[-1:].isdigit() else name)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("AGX Orin, 16 multiprocessors", "Orin Nano, 8 multiprocessors", False),
        ("AGX Orin, 16 multiprocessors", "AGX Orin, 14 multiprocessors", False),
        ("AGX Orin, 16 multiprocessors", "AGX Orin", True),
        ("Orin Nano", "Orin NX, 8 multiprocessors", False),
        ("", "Orin Nano", True),
        ("Orin Nano", "", True),
    ],
)
def test_what_is_not_told_is_not_compared(one, other, same):
    assert same_module(one, other) is same
