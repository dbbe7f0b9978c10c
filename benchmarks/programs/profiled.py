"""PyTorch's own profiler watches a model: the results, and whether the profile shows its kernels.

As a tenant it also prints how many launches Fico has counted meanwhile, to compare.
"""

from __future__ import annotations

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

import models
from outputs import Outputs, launches_seen

REQUESTS = 4
BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    options = parser.parse_args()
    if options.deterministic:
        models.be_deterministic()
    outputs = Outputs()
    with torch.inference_mode():
        model = models.build("mobilenet_v2", options.seed)
        requests = [image.cuda() for image in models.images(REQUESTS, BATCH, options.seed)]
        model(requests[0])
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            before = launches_seen()
            results = [model(request) for request in requests]
            torch.cuda.synchronize()
            after = launches_seen()
    kernels = [
        event.name
        for event in profiled.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not event.name.startswith(("Memcpy", "Memset"))
    ]
    if not kernels:
        raise RuntimeError("the profile shows no kernel")
    outputs.add(*results)
    counted = None if before is None or after is None else after - before
    outputs.report(profiled_kernels=len(kernels), launches_meanwhile=counted)


if __name__ == "__main__":
    main()
