"""transformers' `generate` on GPT-2 124M with random weights, its cache and torch. Arguments: key=value of batch,
prompt, tokens, device."""

import sys
import time

import torch
import transformers
from contest import serve


def main(batch: str, prompt: str, tokens: str, device: str) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval().to(device)
    tokens_BT = torch.randint(0, 50_257, (int(batch), int(prompt)), device=device)
    keys = dict(
        attention_mask=torch.ones_like(tokens_BT),
        max_new_tokens=int(tokens),
        min_new_tokens=int(tokens),
        do_sample=False,
        pad_token_id=50_256,
    )

    def run(n: int) -> float:
        started = time.perf_counter()
        with torch.no_grad():
            for _ in range(n):
                model.generate(tokens_BT, **keys).cpu()
        return time.perf_counter() - started

    serve(dict(version=f"transformers {transformers.__version__}, torch {torch.__version__}"), run)


main(**dict(pair.split("=") for pair in sys.argv[1:]))
