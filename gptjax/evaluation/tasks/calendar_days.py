"""The weekday of a date, among all seven."""

import calendar
import datetime
from collections.abc import Sequence

from gptjax.evaluation.task import Question, Task

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)


def dates(first: int) -> list[Question]:
    """Every 183rd day, from one that is no other call's."""
    days = range(FIRST.toordinal() + first, LAST.toordinal(), 183)
    names = tuple(f" {name}." for name in calendar.day_name)
    found = []
    for day in map(datetime.date.fromordinal, days):
        prompt = f"{day.day} {calendar.month_name[day.month]} {day.year} was a"
        found.append(Question(prompt, names, day.weekday()))
    return found


def most_frequent(questions: Sequence[Question]) -> list[str]:
    """Every weekday is as likely: Monday."""
    return [question.answers[0] for question in questions]


TASK = Task(
    "calendar_days",
    "choice",
    lambda: dates(0),
    lambda: dates(91),
    n_shots=4,
    metrics=("accuracy",),
    baselines={"monday": most_frequent},
)
