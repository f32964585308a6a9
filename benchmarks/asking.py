"""What a reward service costs a rollout when it is asked while others are drawn, against asking at the end.

    make bench-asking

A service on this machine that takes as long for a rollout as drawing it does, one group after the other, as
one GPU of its own would. Rollouts of an untrained network, drawn and scored without updates, in turn in one
process: without a service, asked meanwhile, asked at the end. The figure is the ratio of what the two add.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from torch import Tensor

from flowmap.grpo.trainer import Grpo
from flowmap.models import MlpFacts
from flowmap.rewards import Samples
from flowmap.rewards.http import HttpReward
from flowmap.rewards.protocol import Weighted
from flowmap.settings import GrpoSettings

_PROMPTS, _GROUPS, _MEMBERS = ("a", "b"), 8, 12


class AtTheEnd(HttpReward):
    elsewhere = False


class Scorer(ThreadingHTTPServer):
    """Says 0 of every sample, after so many seconds for each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds_a_sample, self.one_at_a_time = 0.0, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Scorer

    def do_POST(self) -> None:
        num = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["shape"][0]
        with self.server.one_at_a_time:
            time.sleep(num * self.server.seconds_a_sample)
        answer = json.dumps({"scores": [0.0] * num}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def nothing(samples: Samples) -> Tensor:
    return samples.data.new_zeros(samples.data.shape[:2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=1024)
    args = parser.parse_args()
    torch.manual_seed(0)
    facts = MlpFacts(shape=(3, 16, 16), prompts=_PROMPTS, width=args.width, depth=8, max_frequency=3.0)
    settings = GrpoSettings(
        groups=_GROUPS, group_size=_MEMBERS, grid=(1.0, 0.75, 0.5, 0.25, 0.0), micro_batch=_MEMBERS
    )
    scorer = Scorer()
    url = f"http://127.0.0.1:{scorer.server_port}/"
    grpo = Grpo(facts.build(), [nothing], _PROMPTS, settings)
    ways = {"no service": grpo.rewards}
    ways |= {"meanwhile": [Weighted(HttpReward(url))], "at the end": [Weighted(AtTheEnd(url))]}

    def drawn(way: str) -> float:
        grpo.rewards = ways[way]
        groups = grpo.draw_prompts(0)
        began = time.perf_counter()
        grpo.draw(0, grpo.members(groups), groups)
        return time.perf_counter() - began

    bare = statistics.median(drawn("no service") for _ in range(3))
    scorer.seconds_a_sample = bare / (_GROUPS * _MEMBERS)
    rounds = [{way: drawn(way) for way in ways} for _ in range(args.rounds)]
    seconds = {way: statistics.median(each[way] for each in rounds) for way in ways}
    added = {way: seconds[way] - seconds["no service"] for way in ("meanwhile", "at the end")}
    for way, median in seconds.items():
        print(f"{way:12} {median:.3f} s a rollout")
    print(
        f"asked meanwhile it adds {added['meanwhile'] / added['at the end']:.2f} of what it adds at the end"
    )


if __name__ == "__main__":
    main()
