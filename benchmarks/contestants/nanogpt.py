"""nanoGPT's model and optimizer on the CPU, eager, with the step of its train.py. Arguments: its folder, then key=value
of layers, heads, width, context, vocab, batch."""

import sys
import time

import torch
from contest import serve

folder, *pairs = sys.argv[1:]
size = {key: int(value) for key, value in (pair.split("=") for pair in pairs)}
sys.path.insert(0, folder)
from model import GPT, GPTConfig  # noqa: E402

torch.manual_seed(0)
config = GPTConfig(
    block_size=size["context"],
    vocab_size=size["vocab"],
    n_layer=size["layers"],
    n_head=size["heads"],
    n_embd=size["width"],
    dropout=0.0,
    bias=False,
)
model = GPT(config)
optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
tokens = torch.randint(size["vocab"], (size["batch"], size["context"] + 1))


def run(n: int) -> float:
    started = time.perf_counter()
    for _ in range(n):
        _, loss = model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return time.perf_counter() - started


serve(dict(version=f"torch {torch.__version__}", compile_s=None), run)
