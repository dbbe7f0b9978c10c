"""Triton kernels (a matrix product, a softmax, an element-wise one) in a chain over two streams."""

import argparse

import torch
import triton
import triton.language as tl

from outputs import Outputs

ROUNDS = 8
SIZE = 1024


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def matmul(a, b, c, n, TILE: tl.constexpr, DEPTH: tl.constexpr):  # type: ignore[no-untyped-def]
    rows = tl.program_id(0) * TILE + tl.arange(0, TILE)
    columns = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inner = tl.arange(0, DEPTH)
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, n, DEPTH):
        left = tl.load(a + rows[:, None] * n + (start + inner)[None, :])
        right = tl.load(b + (start + inner)[:, None] * n + columns[None, :])
        total += tl.dot(left, right)
    tl.store(c + rows[:, None] * n + columns[None, :], total.to(tl.float16))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def softmax(x, y, n, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * n + tl.arange(0, WIDTH)
    row = tl.load(x + at).to(tl.float32)
    raised = tl.exp(row - tl.max(row, axis=0))
    tl.store(y + at, (raised / tl.sum(raised, axis=0)).to(tl.float16))


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def blend(x, y, z, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    tl.store(z + at, tl.load(x + at) * 0.5 + tl.load(y + at) * 64.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true", help="it always is")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    state = torch.randn(SIZE, SIZE, device="cuda").half()
    weights = (torch.randn(SIZE, SIZE, device="cuda") / SIZE**0.5).half()
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    streams[0].wait_stream(torch.cuda.current_stream())
    kept = []
    for number in range(ROUNDS):
        stream, other = streams[number % 2], streams[1 - number % 2]
        with torch.cuda.stream(stream):
            product, weighed, blended = (torch.empty_like(state) for _ in range(3))
            matmul[(SIZE // 64, SIZE // 64)](state, weights, product, SIZE, TILE=64, DEPTH=32)
            softmax[(SIZE,)](product, weighed, SIZE, WIDTH=SIZE)
            blend[(SIZE,)](product, weighed, blended, WIDTH=SIZE)
        other.wait_stream(stream)
        # Kept to the end, so that no memory changes its stream.
        kept += [product, weighed, blended]
        state = blended
    torch.cuda.synchronize()
    outputs = Outputs()
    outputs.add(*kept)
    outputs.report()


if __name__ == "__main__":
    main()
