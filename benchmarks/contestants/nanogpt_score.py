"""The loss of a nanoGPT checkpoint over the whole of its validation text: windows of its context, without overlap, so
that every target counts once. Arguments: its folder, and the checkpoint that its train.py has just written, which
torch.load unpickles.
"""

import pathlib
import sys

import numpy as np
import torch

folder, file = sys.argv[1:]
sys.path.insert(0, folder)
from model import GPT, GPTConfig  # noqa: E402

saved = torch.load(file, map_location="cpu", weights_only=False)
model = GPT(GPTConfig(**saved["model_args"]))
model.load_state_dict(saved["model"])
model.eval()
tokens = np.fromfile(pathlib.Path(folder, "data/shakespeare_char/val.bin"), np.uint16).astype(np.int64)
context, nats = saved["model_args"]["block_size"], 0.0
with torch.no_grad():
    for start in range(0, len(tokens) - 1, context):
        window = torch.from_numpy(tokens[start : start + context + 1])[None]
        _, loss = model(window[:, :-1].contiguous(), window[:, 1:].contiguous())
        nats += loss.item() * (window.shape[1] - 1)
print(nats / (len(tokens) - 1))
