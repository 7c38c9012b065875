"""The development half: gptjax evaluate --from=runs/summaries --tasks=experiments/summaries/development.py"""

from experiments import halves
from experiments.summaries.task import made

TASK = made(halves.VALID)
