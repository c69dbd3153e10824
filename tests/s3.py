"""A real S3 server (moto's) in a process of its own, and a proxy in front of it that misbehaves as asked."""

from __future__ import annotations

import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PAGE = 20  # objects in an answer to a listing, where real stores put a thousand
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "not-to-be-seen-anywhere",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextmanager
def server() -> Iterator[str]:
    """The address of a server that forgets everything at the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < give_up, "the S3 server does not start"
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == 200
    except OSError:
        return False


@dataclass
class Bucket:
    """A bucket as its owner sees it, past any proxy."""

    fs: Any
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, folder: Path) -> None:
        """Every file of a folder, under ``music/``."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.fs.pipe_file(f"{self.name}/music/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def keys(self, prefix: str) -> list[str]:
        names = (name.removeprefix(f"{self.name}/") for name in self.fs.find(self.name))
        return sorted(name for name in names if name.startswith(prefix))


Mischief = Callable[[int, str, str], str | None]  # (request number, method, path) -> what to do instead, or None


@dataclass
class Proxy:
    """What went through it, and what it does to requests: "503", "403", "cut", "half", "late" or nothing."""

    address: str
    mischief: Mischief = lambda number, method, path: None
    requests: list[tuple[str, str, int]] = field(default_factory=list)  # (method, path, bytes sent back)

    def calm(self) -> None:
        self.mischief = lambda number, method, path: None
        self.requests.clear()


@contextmanager
def proxy(target: str, *, delay_s: float = 0.0) -> Iterator[Proxy]:
    """A proxy to the server at ``target``, in this process; every request takes ``delay_s`` longer."""
    host = target.removeprefix("http://")
    state = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each body waits 40 ms for the head's acknowledgement

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def _pass_on(self) -> None:
            number = len(state.requests)
            entry = [self.command, self.path, 0]
            state.requests.append(entry)  # type: ignore[arg-type]
            deed = state.mischief(number, self.command, self.path)
            body = self._body()
            if deed == "cut":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if deed == "late":
                time.sleep(3)
            if deed in ("503", "403"):
                code = {"503": "SlowDown", "403": "AccessDenied"}[deed]
                answer = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
                self._answer(int(deed), [("Content-Type", "application/xml")], answer, len(answer))
                return
            time.sleep(delay_s)
            connection = HTTPConnection(host, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            entry[2] = len(data)
            length = int(response.headers.get("Content-Length", len(data)))
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _OURS]
            self._answer(response.status, kept, data[: len(data) // 2] if deed == "half" else data, length)
            connection.close()
            if deed == "half":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def _body(self) -> bytes:
            if "100-continue" in self.headers.get("Expect", "").lower():
                self.send_response_only(100)
                self.end_headers()
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: int) -> None:
            self.send_response_only(status)
            for name, value in [*headers, ("Content-Length", str(length))]:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that left is no news."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        state.address = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield state
        listening.shutdown()


_OURS = {"content-length", "transfer-encoding", "connection", "date", "server"}
