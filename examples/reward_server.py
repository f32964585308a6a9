"""A service that scores samples for the reward `http`: put your own model into `score`.

python examples/reward_server.py --port 8070
flowmap run digits.yaml --set 'grpo_finetuning.rewards=[{kind: http, url: "http://localhost:8070/"}]'
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray


def score(
    samples: NDArray[np.float32], prompts: Sequence[str], facts: Sequence[dict[str, Any]]
) -> list[float | None]:
    """One number for each sample, None for no verdict; here, how much of an image is bright."""
    return [float(sample.mean()) if np.isfinite(sample).all() else None for sample in samples]


class Handler(BaseHTTPRequestHandler):
    """Reads a batch, answers its scores."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        samples = np.frombuffer(base64.b64decode(asked["samples"]), "<f4").reshape(asked["shape"])
        answer = json.dumps({"scores": score(samples, asked["prompts"], asked["facts"])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8070, help="0 takes a free one")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer((arguments.host, arguments.port), Handler)
    print(f"scoring at http://{arguments.host}:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
