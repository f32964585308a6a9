"""A proxy in front of a real store that does to requests what networks and overloaded servers do."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Fault = Literal["500", "503", "reset", "cut", "garble", "lost answer", "hang", "slow"]
HANG_S, SLOW_S, SLOW_PARTS = 3.0, 0.25, 12


@dataclass
class Faults:
    """Which requests go wrong, and how.

    Attributes:
        choose: given method, path and the number of earlier requests of that method and path, the fault or
            None.
        seen: requests by method and path.
    """

    choose: Callable[[str, str, int], Fault | None] = lambda method, path, earlier: None
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> Fault | None:
        path = path.split("?")[0]
        with self.lock:
            earlier = self.seen[(method, path)]
            self.seen[(method, path)] += 1
        return self.choose(method, path, earlier)


@contextmanager
def faulty_proxy(endpoint: str) -> Iterator[tuple[str, Faults]]:
    """The proxy's own endpoint, and its faults, none to begin with."""
    faults, target = Faults(), endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faults.next(self.command, self.path)
            if fault == "hang":  # it is there, and says nothing
                time.sleep(HANG_S)
                self.close_connection = True
                return
            if fault == "reset":
                self.close_connection = True
                return
            if fault in ("500", "503"):
                self.send_response(int(fault))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection(target)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException):  # the store itself is gone
                self.close_connection = True
                return
            finally:
                upstream.close()
            if fault == "lost answer":
                self.close_connection = True
                return
            if fault == "garble" and data:
                data = bytes([data[0] ^ 1]) + data[1:]
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in (
                    "transfer-encoding",
                    "connection",
                    "content-length",
                    "date",
                    "server",
                ):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if fault == "slow":
                step = max(1, len(data) // SLOW_PARTS)
                for first in range(0, len(data), step):
                    time.sleep(SLOW_S)
                    self.wfile.write(data[first : first + step])
                return
            self.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
            if fault == "cut":
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        server.server_close()
