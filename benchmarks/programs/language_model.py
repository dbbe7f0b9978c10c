"""A decoder-only transformer with random weights writes 64 tokens, greedily, for two prompts."""

from __future__ import annotations

import argparse

import torch
import transformers

import models
from outputs import Outputs

TOKENS = 64
VOCABULARY = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    options = parser.parse_args()
    if options.deterministic:
        models.be_deterministic()
    torch.manual_seed(options.seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config).eval().to("cuda", torch.bfloat16)
    how = transformers.GenerationConfig(
        max_new_tokens=TOKENS,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    outputs = Outputs()
    for prompt_tokens in (16, 100):
        prompt = torch.randint(1, VOCABULARY, (2, prompt_tokens)).cuda()
        with torch.inference_mode():
            written = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), generation_config=how
            )
        if written.sequences.shape[1] != prompt_tokens + TOKENS:
            raise RuntimeError(f"{written.sequences.shape[1] - prompt_tokens} tokens were written")
        outputs.add(written.sequences, *written.logits)
    outputs.report()


if __name__ == "__main__":
    main()
