"""The development half: gptjax evaluate --from=runs/stories --tasks=experiments/stories/development.py"""

from experiments import halves
from experiments.stories.task import made

TASKS = made(halves.VALID)
