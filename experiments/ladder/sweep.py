"""How large a model for a given compute? Five sizes at three budgets, for the analysis to fit."""

from gptjax import config
from gptjax.planning import flops
from launch.sweep import Cell, Sweep

CONFIG = "configs/base.py"
WIDTHS = (32, 48, 64, 96, 128)  # layers grow with them
LAYERS = (2, 2, 3, 4, 4)
BUDGETS = (2e11, 6e11, 1.8e12)  # FLOPs, of training
BASE = {
    "batch_tokens": 1024,
    "eval_every": 0,
    "eval_tokens": 65_536,
    "save_every": 0,
    "sample_tokens": 0,
    "model.context": 64,
    "model.position": "rope",
    "model.norm": "rms",
    "model.bias": False,
    "model.tied": False,
    "model.scan": False,
    "model.mup_base_width": 64,  # so that one learning rate fits all widths
    "optim.peak_lr": 2.0**-6,
    "optim.warmup_steps": 10,
}


def cells() -> list[Cell]:
    """For each size and budget the number of steps that the budget pays for."""
    found = []
    for width, n_layers in zip(WIDTHS, LAYERS, strict=True):
        size = {"model.d_model": width, "model.n_heads": width // 16, "model.n_kv_heads": width // 16}
        size |= {"model.d_hidden": 4 * width, "model.n_layers": n_layers}
        cfg = config.load(CONFIG, [f"{key}={value}" for key, value in (BASE | size).items()])
        per_step = flops.train_flops_per_token(cfg.model) * cfg.batch_tokens
        found += [size | {"n_steps": round(budget / per_step)} for budget in BUDGETS]
    return found


SWEEP = Sweep(config=CONFIG, base=BASE, cells=cells())
