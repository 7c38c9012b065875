"""Which optimizer learns most from the same tokens? Each at its best of four learning rates, over three seeds."""

from launch.sweep import Sweep, chain, product, seeds

SWEEP = Sweep(
    config="configs/smoke.py",
    base={
        "n_steps": 150,
        "eval_every": 0,
        "save_every": 0,
        "sample_tokens": 0,
        "model.d_model": 96,
        "model.d_hidden": 384,
        "model.n_layers": 3,
    },
    cells=product(
        chain(
            product({"optim.name": ["adamw", "muon"], "optim.peak_lr": [3e-3, 6e-3, 1.2e-2, 2.4e-2]}),
            product({"optim.name": ["lion"], "optim.weight_decay": [0.5], "optim.peak_lr": [5e-4, 1e-3, 2e-3, 4e-3]}),
        ),
        seeds(3),
    ),
)
