"""The development half: gptjax evaluate --from=runs/dialogue --tasks=experiments/dialogue/development.py"""

from experiments import halves
from experiments.dialogue.task import made

TASKS = made(halves.VALID)
