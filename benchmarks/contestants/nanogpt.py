"""nanoGPT's model and optimizer with the step of its train.py: eager on a CPU; on CUDA compiled, in bfloat16 and with
TF32. Arguments: its folder, the device (cpu, cuda), then key=value of layers, heads, width, context, vocab, batch."""

import contextlib
import sys
import time

import torch
from contest import peak_gib, serve

folder, device, *pairs = sys.argv[1:]
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
on_gpu = device == "cuda"
model = GPT(config).to(device)
optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95), device)
tokens = torch.randint(size["vocab"], (size["batch"], size["context"] + 1), device=device)
precision = contextlib.nullcontext()
if on_gpu:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    precision = torch.amp.autocast("cuda", torch.bfloat16)
    model = torch.compile(model)


def run(n: int) -> float:
    started = time.perf_counter()
    for _ in range(n):
        with precision:
            _, loss = model(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
    return time.perf_counter() - started


started = time.perf_counter()
if on_gpu:
    run(1)
compile_s = time.perf_counter() - started if on_gpu else None
peak = (lambda: torch.cuda.max_memory_allocated() / 2**30) if on_gpu else peak_gib
serve(dict(version=f"torch {torch.__version__}", compile_s=compile_s), run, peak)
