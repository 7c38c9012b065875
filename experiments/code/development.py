"""The development half: gptjax evaluate --from=runs/code --tasks=experiments/code/development.py"""

from experiments import halves
from experiments.code.task import made

TASKS = made(halves.VALID)
