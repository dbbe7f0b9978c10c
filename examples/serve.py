"""A torchvision model behind HTTP, and a client that keeps it busy: serve.py MODEL [--port N].

Knows nothing of Fico. GET /classify?seed=N classifies a batch of random images; once a second the
server prints what its client saw.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import torch
import torchvision

BATCH = 32


def handler(model: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seed = int(parse_qs(urlparse(self.path).query)["seed"][0])
            torch.manual_seed(seed)
            with torch.inference_mode():
                classes = model(torch.randn(BATCH, 3, 224, 224, device="cuda")).argmax(1).tolist()
            body = str(classes).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def ask(port: int, seconds: int) -> None:
    """Send one request after another and print each second's latencies."""
    for second in range(seconds):
        latencies_ms = []
        until = time.perf_counter() + 1
        while (begun := time.perf_counter()) < until:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/classify?seed={second}") as reply:
                reply.read()
            latencies_ms.append(1e3 * (time.perf_counter() - begun))
        median_ms = statistics.median(latencies_ms)
        print(f"{len(latencies_ms)} requests, median {median_ms:.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8700)
    parser.add_argument("--seconds", type=int, default=6)
    options = parser.parse_args()
    model = torchvision.models.get_model(options.model, weights=None).eval().cuda()
    server = ThreadingHTTPServer(("127.0.0.1", options.port), handler(model))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ask(options.port, options.seconds)
    server.shutdown()


if __name__ == "__main__":
    main()
