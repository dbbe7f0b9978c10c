"""Why a model as a CUDA graph takes longer as a client of MPS than without it.

    python benchmarks/mps_cost.py [--output FILE]

The same server without MPS, as its client, and as its client under settings that might matter, all
alive at once, take turns. Each turn gives the latency of a request, and one traced by PyTorch's
profiler gives the time inside the kernels and between them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import common

SEED = 1
REQUESTS = (("resnet152", 8), ("vgg16", 8), ("mobilenet_v2", 1))
VARIANTS: dict[str, dict[str, str] | None] = {
    "plain": None,
    "mps": {},
    "mps, 1 connection": {"CUDA_DEVICE_MAX_CONNECTIONS": "1"},
    "mps, 32 connections": {"CUDA_DEVICE_MAX_CONNECTIONS": "32"},
    "mps, low priority": {"CUDA_MPS_CLIENT_PRIORITY": "1"},
    "mps, 50 % of the threads": {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"},
}


def serve() -> None:
    """Answer `MODEL BATCH` with the figures of its graph, as JSON."""
    import time

    import torch
    from torch.profiler import ProfilerActivity, profile

    from closed_loop import recorded, vision, warmed

    with torch.inference_mode():
        graphs = {
            (name, batch): recorded(warmed(vision(name, batch, SEED)["request"]))
            for name, batch in REQUESTS
        }
        torch.cuda.synchronize()
        print("ready", flush=True)
        for line in sys.stdin:
            name, batch = line.split()
            graph = graphs[name, int(batch)]
            times_us = []
            for _ in range(60):
                begun = time.perf_counter()
                graph()
                torch.cuda.synchronize()
                times_us.append(1e6 * (time.perf_counter() - begun))
            with profile(activities=[ProfilerActivity.CUDA]) as traced:
                graph()
                torch.cuda.synchronize()
            spans = sorted(
                (event.start_ns(), event.start_ns() + event.duration_ns())
                for event in traced.profiler.kineto_results.events()
                if event.device_type() == torch.profiler.DeviceType.CUDA
            )
            busy_ns = sum(end - start for start, end in spans)
            answer = {
                "latency_us": statistics.median(times_us[10:]),
                "kernels": len(spans),
                "in_kernels_us": busy_ns / 1e3,
                "traced_us": (spans[-1][1] - spans[0][0]) / 1e3 if spans else 0.0,
            }
            print(json.dumps(answer), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=common.RESULTS / "mps_cost.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.path.insert(0, str(common.PROGRAMS))
        serve()
        return 0
    head = common.header([SEED])
    common.end_session()
    log = common.BUILD / "logs" / "mps_cost"
    command = [sys.executable, __file__, "--serve"]
    # A tenant, so that there is a session and its MPS.
    anchor = common.Child(
        common.as_tenant([str(common.built("burner", "burner.cu"))], name="anchor"),
        common.environment(),
        log,
    )
    servers: dict[str, common.Child] = {}
    rows: list[common.Row] = []
    try:
        anchor.hear()
        for name, settings in VARIANTS.items():
            mps = {} if settings is None else common.mps_environment() | settings
            servers[name] = common.Child(command, common.environment(**mps), log)
        for server in servers.values():
            server.hear(240)
        for model, batch in REQUESTS:
            turns: dict[str, list[common.Row]] = {name: [] for name in servers}
            for _ in range(options.rounds):
                for name, server in servers.items():
                    turns[name].append(json.loads(server.ask(f"{model} {batch}")))
            plain_us = statistics.median(turn["latency_us"] for turn in turns["plain"])
            for name, seen in turns.items():
                row: common.Row = {"model": model, "batch": batch, "variant": name}
                for figure in ("latency_us", "kernels", "in_kernels_us", "traced_us"):
                    row[figure] = round(statistics.median(turn[figure] for turn in seen), 2)
                row["over_plain_pct"] = round(100 * (row["latency_us"] / plain_us - 1), 2)
                rows.append(row)
            common.write(options.output, head, rows)
    finally:
        for server in (*servers.values(), anchor):
            server.close()
        common.end_session()
    common.show(rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
