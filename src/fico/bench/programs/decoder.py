"""A decoder-only transformer with some 0.4 billion random weights: its two kinds of request."""

from __future__ import annotations

from collections.abc import Callable

import torch

PREFILL_TOKENS = 512
STEPS = 32
"""Tokens that are written after each prefill, a request each."""
_VOCABULARY = 32_000


def decoder(batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Issues a prefill, and a step that writes one token for each of a batch."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=1024,
    )
    model = transformers.LlamaForCausalLM(config).eval().to("cuda", torch.bfloat16)
    cache = transformers.StaticCache(config=config, max_cache_len=PREFILL_TOKENS + STEPS)
    prompt = torch.randint(1, _VOCABULARY, (batch, PREFILL_TOKENS)).cuda()
    token = torch.randint(1, _VOCABULARY, (batch, 1)).cuda()
    places = torch.arange(PREFILL_TOKENS, device="cuda")
    place = torch.tensor([PREFILL_TOKENS], device="cuda")

    def run(tokens: torch.Tensor, at: torch.Tensor) -> object:
        return model(
            input_ids=tokens,
            position_ids=at.unsqueeze(0),
            cache_position=at,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits

    def prefill() -> object:
        cache.reset()
        return run(prompt, places)

    return prefill, lambda: run(token, place)
