"""Who may talk to mavos-studio, and what it hands out."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mavos_deploy.runtime.studio.guard import LARGEST, Door
from tests.made_videos import video
from tests.studio_server import PATIENCE, Client, served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("studio")
    (folder / "secret.png").write_bytes(b"secret")
    with served(video(folder / "clip.mp4")) as found:
        yield found


def test_the_first_visit_gets_a_cookie_that_lets_it_in(client: Client) -> None:
    stranger = Client(client.door)
    stranger.headers = {}
    status, headers, _ = stranger.send("GET", f"/?token={client.door.token}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Strict")
    own = cookie.partition(";")[0]
    # The second one is of another server on this machine: cookies don't know of ports.
    for given in (own, f'other={{"a": 1}}; {own}'):
        stranger.headers = {"cookie": given}
        assert stranger.send("GET", "/api/project")[0] == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        pytest.param({}, "needs the token", id="no-token"),
        pytest.param({"authorization": "Bearer wrong"}, "needs the token", id="wrong-token"),
        pytest.param({"cookie": "mavos_studio_1=x"}, "needs the token", id="other-cookie"),
        pytest.param({"host": "evil.example"}, "is not the name", id="rebound-name"),
        pytest.param({"host": "127.0.0.1:1"}, "is not the name", id="other-port"),
        pytest.param({"origin": "http://evil.example"}, "may not use", id="other-origin"),
        pytest.param({"origin": "null"}, "may not use", id="sandboxed-origin"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/project"), ("POST", "/api/undo"), ("GET", "/api/frames/0.jpg")],
)
def test_strangers_are_kept_out(
    client: Client, headers: dict[str, str], words: str, method: str, path: str
) -> None:
    stranger = Client(client.door)
    if "host" not in headers and "origin" not in headers:
        stranger.headers = {}
    status, _, content = stranger.send(method, path, headers=headers)
    assert status == 403
    assert words in json.loads(content)["error"]


def test_a_wrong_token_in_the_address_is_refused(client: Client) -> None:
    stranger = Client(client.door)
    stranger.headers = {}
    status, headers, content = stranger.send("GET", "/?token=wrong")
    assert (status, headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert b"needs the token" in content
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Authorization": "Bearer wrong"}, id="no-token"),
        pytest.param({"Origin": "http://evil.example"}, id="other-origin"),
    ],
)
def test_strangers_hear_nothing(client: Client, headers: dict[str, str]) -> None:
    stranger = Client(client.door)
    if "Authorization" in headers:
        stranger.headers = {}
    with pytest.raises((InvalidStatus, ConnectionClosed)), stranger.live(**headers) as live:
        live.recv(PATIENCE)


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../server.py",
        "/page/..%2f..%2fserver.py",
        "/page/%2e%2e/server.py",
        "/page/../../../../../etc/passwd",
        "/page//etc/passwd",
        "/page/server.py",
        "/api/frames/../../secret.png",
        "/api/exports/../secret.png",
        "/api/exports/1",
        "/clip.mavos/history.jsonl",
        "/api/thumbnails/..%2f..%2fsecret.png",
    ],
)
def test_no_other_file_is_handed_out(client: Client, path: str) -> None:
    status, headers, content = client.send("GET", path)
    assert status in (400, 404)
    assert json.loads(content)["status"] == status
    assert headers["x-content-type-options"] == "nosniff"


def test_a_large_body_is_refused_before_it_is_read(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.door.port, timeout=PATIENCE)
    connection.putrequest("POST", "/api/masks/0/import")
    for name, value in {**client.headers, "content-length": str(5 << 30)}.items():
        connection.putheader(name, value)
    connection.endheaders(b"x")
    answer = connection.getresponse()
    assert answer.status == 413
    assert "MB are taken" in json.loads(answer.read())["error"]
    connection.close()


def test_a_body_that_does_not_say_its_length_is_refused_once_it_is_too_large(
    client: Client,
) -> None:
    piece = b"x" * (1 << 20)
    head = (
        f"POST /api/undo HTTP/1.1\r\nHost: 127.0.0.1:{client.door.port}\r\n"
        f"Authorization: Bearer {client.door.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", client.door.port), PATIENCE) as sock:
        sock.sendall(head.encode())
        for _ in range((LARGEST >> 20) + 1):
            sock.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        assert b" 413 " in sock.recv(4096)


@pytest.mark.parametrize(
    ("listens", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.0.0.1", "localhost:80", True),
        ("127.0.0.1", "192.168.1.5:80", False),
        ("0.0.0.0", "192.168.1.5:80", True),
        ("0.0.0.0", "evil.example:80", False),
        ("studio.lan", "studio.lan:80", True),
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "[::1]:80", True),
    ],
)
def test_the_server_knows_its_names(listens: str, host: str, known: bool) -> None:
    assert Door(listens, 80).knows_host(host) is known


def test_tokens_differ() -> None:
    assert Door("127.0.0.1", 80).token != Door("127.0.0.1", 80).token
