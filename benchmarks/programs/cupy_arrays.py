"""CuPy: a kernel of its own, element-wise work, reductions, a sort and matrix products."""

from __future__ import annotations

import argparse

import cupy

from outputs import Outputs

ROUNDS = 6
SIZE = 1024

MIX = r"""
extern "C" __global__ void mix(const unsigned* from, unsigned* to, unsigned count, unsigned salt) {
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= count) return;
  unsigned word = from[(at * 7u + salt) % count] ^ salt;
  for (int round = 0; round < 64; ++round) word = (word ^ (word >> 15)) * 0x85EBCA77u + at;
  to[at] = word;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true", help="it always is")
    options = parser.parse_args()
    mix = cupy.RawKernel(MIX, "mix")
    random = cupy.random.default_rng(options.seed)
    matrix = random.standard_normal((SIZE, SIZE), dtype=cupy.float32)
    words = random.integers(0, 1 << 31, SIZE * SIZE).astype(cupy.uint32)
    side = cupy.cuda.Stream(non_blocking=True)
    kept = []
    for number in range(ROUNDS):
        mixed = cupy.empty_like(words)
        mix(
            (words.size // 256,),
            (256,),
            (words, mixed, cupy.uint32(words.size), cupy.uint32(number)),
        )
        matrix = cupy.tanh(matrix @ matrix.T / SIZE + (mixed.reshape(SIZE, SIZE) & 255) / 256.0)
        matrix = matrix.astype(cupy.float32)
        kept += [mixed, matrix, matrix.sum(axis=0), matrix.max(), cupy.sort(mixed[:65536])]
        words = mixed
        done = cupy.cuda.get_current_stream().record()
        side.wait_event(done)
        with side:
            kept.append(cupy.cumsum(matrix[number]))
        # The next round may change nothing that the side stream still reads: all is kept.
        cupy.cuda.get_current_stream().wait_event(side.record())
    cupy.cuda.Device().synchronize()
    outputs = Outputs()
    outputs.add(*kept)
    outputs.report()


if __name__ == "__main__":
    main()
