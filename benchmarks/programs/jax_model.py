"""A small convolutional network, a chain of matrix products and a scan, compiled by JAX."""

from __future__ import annotations

import argparse
import os

from outputs import Outputs

NOTE = "XLA's autotuning is off: it times kernels and would choose others from run to run"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    options = parser.parse_args()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_autotune_level=0"]
    if options.deterministic:
        flags.append("--xla_gpu_deterministic_ops=true")
    os.environ["XLA_FLAGS"] = " ".join(flags)

    import jax
    from jax import lax
    from jax import numpy as jnp

    if jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX computes on {jax.default_backend()}, not on the GPU")

    @jax.jit  # type: ignore[untyped-decorator, unused-ignore]
    def network(filters: list[jax.Array], weights: jax.Array, image: jax.Array) -> list[jax.Array]:
        layers = []
        state = image
        for filter_ in filters:
            state = lax.conv_general_dilated(
                state, filter_, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
            )
            state = jax.nn.relu(state / (1e-6 + jnp.std(state)))
            layers.append(state)
        flat = state.reshape(state.shape[0], -1)[:, : weights.shape[0]]

        def step(carry: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
            after = jnp.tanh(carry @ weights + number)
            return after, after.sum(axis=1)

        last, sums = lax.scan(step, flat, jnp.arange(16, dtype=jnp.float32) / 16)
        return [*layers, last, sums, jax.nn.softmax(last, axis=1)]

    keys = jax.random.split(jax.random.key(options.seed), 12)
    channels = (3, 32, 64, 128)
    filters = [
        jax.random.normal(key, (after, before, 3, 3)) / (3 * before**0.5)
        for key, before, after in zip(keys[:3], channels[:-1], channels[1:], strict=True)
    ]
    weights = jax.random.normal(keys[3], (1024, 1024)) / 32
    outputs = Outputs()
    results = [
        network(filters, weights, jax.random.normal(key, (4, 3, 64, 64))) for key in keys[4:]
    ]
    for result in results:
        outputs.add(*result)
    outputs.report(deterministic_note=NOTE)


if __name__ == "__main__":
    main()
