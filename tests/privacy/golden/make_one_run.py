"""Makes one_run.json: bounds of jax-privacy 2.0.0 for counts of guesses. python tests/privacy/golden/make_one_run.py"""

import json
import pathlib

import numpy as np
from jax_privacy import auditing

COUNTS = [  # included and left out among those guessed "included", then among those not guessed
    (50, 0, 0, 50), (95, 5, 5, 95), (400, 100, 100, 400), (30, 2, 470, 498), (60, 55, 40, 45), (1000, 0, 0, 1000),
]  # fmt: skip
made = []
for tp, fp, fn, tn in COUNTS:
    auditor = auditing.CanaryScoreAuditor(np.array([1.0] * tp + [0.0] * fn), np.array([1.0] * fp + [0.0] * tn))
    for delta in (1e-9, 1e-5, 1e-3):
        for doubt in (0.05, 0.01):
            bound = auditor.epsilon_one_run(doubt, delta, threshold_strategy=auditing.Explicit(0.5))
            row = {"n_coins": tp + fp + fn + tn, "n_guesses": tp + fp, "n_right": tp, "delta": delta, "doubt": doubt}
            made.append(row | {"epsilon": float(bound)})
pathlib.Path(__file__).with_name("one_run.json").write_text(
    "[\n" + ",\n".join(json.dumps(row) for row in made) + "\n]\n"
)
