"""From what a model answered to the measures of a task."""

from collections.abc import Sequence

import numpy as np

from gptjax.config import BadInput
from gptjax.evaluation import accuracy, edits, overlap, perplexity, scores
from gptjax.evaluation.answering import Answers
from gptjax.evaluation.scores import Measure
from gptjax.evaluation.task import Question, Task

LESS_IS_BETTER = ("loss", "perplexity", "bits_per_byte")
OF_TEXTS = {
    "exact_match": accuracy.exact_match,
    "first_line_exact_match": edits.first_line_exact_match,
    "edit_similarity": edits.edit_similarity,
    "bleu": overlap.bleu,
    "chrf": overlap.chrf,
}
OF_NATS = {"loss": perplexity.loss, "perplexity": perplexity.perplexity, "bits_per_byte": perplexity.bits_per_byte}


def of_texts(metrics: Sequence[str], texts: Sequence[str], questions: Sequence[Question]) -> dict[str, Measure]:
    references = [question.answers for question in questions]
    rouges = overlap.rouge(texts, references) if set(metrics) & set(overlap.ROUGES) else {}
    return {name: rouges[name] if name in rouges else OF_TEXTS[name](texts, references) for name in metrics}


def chosen(nats_N: Sequence[np.ndarray], questions: Sequence[Question], metric: str) -> list[int]:
    """Which choice is the likeliest, by its log-probability or by that a byte; of equals the first."""
    if metric == "accuracy":
        return [int(np.argmax(nats_C)) for nats_C in nats_N]
    return [
        int(np.argmax(nats_C / [n_bytes(answer) for answer in question.answers]))
        for nats_C, question in zip(nats_N, questions, strict=True)
    ]


def n_bytes(answer: str) -> int:
    """UTF-8 bytes, blanks at either end aside."""
    return max(1, len(answer.strip().encode()))


def of_choices(metric: str, picked: Sequence[int], questions: Sequence[Question]) -> Measure:
    """The share of questions of which the right choice was picked."""
    right = [question.right == choice for choice, question in zip(picked, questions, strict=True)]
    return scores.mean(metric, np.array(right, np.float64), "argmax|per:question")


def of_cloze(
    metrics: Sequence[str], nats_N: np.ndarray, greedy_N: np.ndarray, n_tokens_N: np.ndarray, n_bytes_N: np.ndarray
) -> dict[str, Measure]:
    """`nats_N` are log-probabilities of whole answers; accuracy is the share of which each token is the likeliest."""
    lengths = {"loss": n_tokens_N, "perplexity": n_tokens_N, "bits_per_byte": n_bytes_N}
    return {name: right(greedy_N) if name == "accuracy" else OF_NATS[name](-nats_N, lengths[name]) for name in metrics}


def right(greedy_N: np.ndarray) -> Measure:
    return scores.mean("accuracy", greedy_N.astype(np.float64), "greedy|per:question")


def of_answers(task: Task, questions: Sequence[Question], answers: Answers) -> dict[str, Measure]:
    """Every metric of a task, in its order."""
    if task.kind == "generate":
        return of_texts(task.measured, answers.texts, questions)
    if task.kind == "choice":
        return {
            metric: of_choices(metric, chosen(answers.nats, questions, metric), questions) for metric in task.measured
        }
    nats_N, greedy_N = (np.array([each[0] for each in of]) for of in (answers.nats, answers.greedy))
    return of_cloze(task.measured, nats_N, greedy_N, answers.n_tokens_N, answers.n_bytes_N)


def of_baseline(
    task: Task,
    given: Sequence[str] | Sequence[float],
    questions: Sequence[Question],
    answers: Answers,
    where: str,
) -> dict[str, Measure]:
    """The measures of a trivial answer to each question: a text, or of a cloze the log-probability of the right one.

    `answers` are a model's, for the lengths of what is right.
    """
    if len(given) != len(questions):
        raise BadInput(f"{where}: {len(given)} answers to {len(questions)} questions")
    if task.kind == "generate":
        return of_texts(task.measured, [str(text) for text in given], questions)
    if task.kind == "cloze" and not isinstance(given[0], str):
        kept, nats_N = [name for name in task.measured if name != "accuracy"], np.array(given, np.float64)
        return of_cloze(kept, nats_N, np.zeros(len(given), np.bool_), answers.n_tokens_N, answers.n_bytes_N)
    hits = [question.answers[question.right] == text for text, question in zip(given, questions, strict=True)]
    if task.kind == "cloze":
        return {"accuracy": right(np.array(hits))} if "accuracy" in task.measured else {}
    picked = [question.right if hit else -1 for hit, question in zip(hits, questions, strict=True)]
    return {name: of_choices(name, picked, questions) for name in task.measured}
