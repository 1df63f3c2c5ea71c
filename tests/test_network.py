"""No test speaks to another machine, and the block that sees to it works."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
@pytest.mark.parametrize("place", [("192.0.2.1", 80), ("example.invalid", 80)])
def test_other_machines_are_out_of_reach(call: str, place: tuple[str, int]) -> None:
    with socket.socket() as made:
        made.settimeout(0.1)
        with pytest.raises(pytest.fail.Exception, match="must not speak to other machines"):
            getattr(made, call)(place)


def test_datagrams_too() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as made,
        pytest.raises(pytest.fail.Exception, match="must not speak"),
    ):
        made.sendto(b"1", ("192.0.2.1", 53))


def test_this_machine_is_within_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as made:
        made.connect(server.getsockname())
