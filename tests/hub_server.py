"""The Hugging Face hub as far as models are fetched from it: one repository, of the files of a folder."""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAME, COMMIT = "someone/model", "0123456789" * 4


class Hub:
    """Attributes: token: that files are given out for, where they are gated; asked: the files that were."""

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self.folder, self.token, self.asked = folder, token, list[str]()

    def names(self) -> list[str]:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in files)


@contextmanager
def serving(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With the library asking this one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *told: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            if path == f"/api/models/{NAME}/revision/{COMMIT}":
                siblings = [{"rfilename": name} for name in hub.names()]
                self._send(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode(), with_body)
            elif path == f"/api/models/{NAME}/tree/{COMMIT}":
                self._send(json.dumps([*map(self._entry, hub.names())]).encode(), with_body)
            elif path.startswith(resolve := f"/{NAME}/resolve/{COMMIT}/"):
                name = path.removeprefix(resolve)
                if hub.token is not None and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    self._send(b"{}", with_body, 401, {"X-Error-Code": "GatedRepo"})
                    return
                if with_body:
                    hub.asked.append(name)
                content = (hub.folder / name).read_bytes()
                etag = hashlib.sha256(content).hexdigest()
                self._send(content, with_body, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
            else:
                code = "RevisionNotFound" if path.startswith(f"/api/models/{NAME}/") else "RepoNotFound"
                self._send(b"{}", with_body, 404, {"X-Error-Code": code})

        def _entry(self, name: str) -> dict[str, Any]:
            size = (hub.folder / name).stat().st_size
            return {"type": "file", "path": name, "size": size, "oid": "0" * 40}

        def _send(
            self, content: bytes, with_body: bool, status: int = 200, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
