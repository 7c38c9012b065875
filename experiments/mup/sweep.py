"""Does the best learning rate stay where it is when the model gets wider? Standard parametrisation against muP."""

from launch.sweep import Sweep, product, zip_

D_HEAD = 16  # the same at every width: models are widened by heads
WIDTHS = (64, 128, 256)
BASE_WIDTH = 64

SWEEP = Sweep(
    config="configs/base.py",
    base={
        "n_steps": 120,
        "batch_tokens": 1024,
        "eval_every": 0,
        "eval_tokens": 32_768,
        "save_every": 0,
        "model.context": 64,
        "model.n_layers": 2,
        "model.position": "rope",
        "model.norm": "rms",
        "model.bias": False,
        "model.tied": False,
        "model.scan": False,
        "optim.warmup_steps": 12,
        "sample_tokens": 0,
    },
    cells=product(
        {"model.mup_base_width": [0, BASE_WIDTH]},
        zip_(
            {
                "model.d_model": WIDTHS,
                "model.n_heads": [width // D_HEAD for width in WIDTHS],
                "model.n_kv_heads": [width // D_HEAD for width in WIDTHS],
                "model.d_hidden": [4 * width for width in WIDTHS],
            }
        ),
        {"optim.peak_lr": [2.0**-power for power in range(9, 2, -1)]},
    ),
)
