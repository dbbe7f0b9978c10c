"""What waits for graphs on partitions, on a real GPU. Run with: pytest -m gpu tests/gpu"""

import sys

import pytest

from helpers.cli import Cli, read_line

pytestmark = pytest.mark.gpu

# Launches a long graph again and again and, after each wait for the device, asks whether an event
# behind the graph has come. Prints how often it had not.
WAITING = """
import torch
side = torch.randn(4096, 4096, device="cuda")
stream = torch.cuda.Stream()
with torch.cuda.stream(stream):
    side @ side
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    result = side
    for _ in range(20):
        result = result @ side
early = 0
for _ in range(50):
    graph.replay()
    event = torch.cuda.Event()
    event.record()
    torch.cuda.synchronize()
    early += not event.query()
print(early, flush=True)
"""


@pytest.mark.parametrize("quota", ["8u", "100%"])
def test_a_wait_for_the_device_covers_the_last_graph(fico: Cli, quota: str) -> None:
    program = fico.start("run", "--quota", quota, "--", sys.executable, "-c", WAITING)
    assert read_line(program) == "0\n"
