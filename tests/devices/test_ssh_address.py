"""What an ssh link may look like, and what is refused before anything is started."""

import pytest

from edgesynth.devices import open_device
from edgesynth.devices.ssh_address import SshAddress
from edgesynth.errors import InputError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://board", SshAddress("board")),
        ("ssh://board/", SshAddress("board")),
        ("ssh://nvidia@10.0.0.2", SshAddress("10.0.0.2", "nvidia")),
        ("ssh://a.b-c+d@tx2.lab.example:2222", SshAddress("tx2.lab.example", "a.b-c+d", 2222)),
        ("ssh://nvidia@[::1]:22", SshAddress("::1", "nvidia", 22)),
        ("ssh://[fe80::1%eth0]", SshAddress("fe80::1%eth0")),
    ],
)
def test_a_url_names_user_host_and_port(url, address):
    assert SshAddress.parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "board",
        "ssh:board",
        "ssh:/board",
        "ssh://",
        "ssh://@board",
        "ssh://nvidia@",
        "ssh://board:",
        "ssh://board:port",
        "ssh://board:0",
        "ssh://board:65536",
        "ssh://board/home",
        "ssh://bo ard",
        "ssh://board\n",
        "ssh://::1",
        "ssh://-oProxyCommand=id",
        "ssh://-l@board",
        "ssh://$(id)",
        "ssh://`id`@board",
        "ssh://a;id@board",
        "ssh://bo\N{LATIN SMALL LETTER A WITH DIAERESIS}rd",
    ],
)
def test_anything_else_is_refused_with_an_example(url):
    with pytest.raises(InputError, match="write it like ssh://nvidia@"):
        SshAddress.parse(url)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(InputError, match="takes no password") as caught:
        SshAddress.parse("ssh://nvidia:secret@board")

    assert "secret" not in str(caught.value)


def test_what_a_person_types_is_what_is_connected_to():
    assert SshAddress.parse("ssh://nvidia@board:2222").by_hand == "ssh -p 2222 nvidia@board"
    assert SshAddress.parse("ssh://board").by_hand == "ssh board"


def test_a_malformed_link_is_bad_input_and_not_a_device_failure():
    with pytest.raises(InputError, match="not an ssh link"):
        open_device("jetson-tx2", link="ssh:/board")
