"""Where mavos-studio listens."""

import re
import socket

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.serving import listening

HERE = "127.0.0.1"


def port_of(sock: socket.socket) -> int:
    """The port that a socket listens on."""
    port: int = sock.getsockname()[1]
    return port


def test_the_last_port_is_taken_again_where_it_is_free() -> None:
    with listening(HERE, None) as sock:
        last = port_of(sock)
        with listening(HERE, None, last) as other:
            assert port_of(other) != last
    with listening(HERE, None, last) as sock:
        assert port_of(sock) == last


def test_a_port_that_was_asked_for_is_taken_or_refused() -> None:
    with listening(HERE, 0, last=1) as sock:
        words = f"can't listen on port {port_of(sock)} of 127.0.0.1: another program listens there"
        with (
            pytest.raises(InputError, match=re.escape(words)),
            listening(HERE, port_of(sock)),
        ):
            pass


def refused(host: str) -> None:
    """Check what is said of a host."""
    words = f"--host {host!r} is no address of this machine ("
    with pytest.raises(InputError, match=re.escape(words)) as said, listening(host, None):
        pass
    assert "give 127.0.0.1 for this machine alone, 0.0.0.0 for all" in str(said.value)
    assert "port" not in str(said.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "", "a..b"])
def test_a_host_that_is_not_of_this_machine_is_named(host: str) -> None:
    refused(host)


@pytest.mark.parametrize("host", ["no-such-machine.invalid", "[::1]"])
def test_a_name_that_no_machine_has_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:  # without asking the network for it
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket.socket, "bind", unknown)
    refused(host)
