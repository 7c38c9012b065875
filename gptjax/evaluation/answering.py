"""What a model answers to the questions of a task: log-likelihoods of given answers, or greedy texts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh

from gptjax.config import BadInput
from gptjax.data.templates import Message
from gptjax.data.tokenizers import Tokenizer
from gptjax.evaluation import continuations
from gptjax.evaluation.continuations import Pair
from gptjax.evaluation.task import Question, Task, with_shots
from gptjax.generation import completion, decode
from gptjax.generation.decode import Writer
from gptjax.generation.dialogue import Dialogue
from gptjax.generation.sampling import Sampling
from gptjax.training.source import Source

Tell = Callable[[int], None]  # is given the number of questions done


class Answers(NamedTuple):
    """Of each question what its kind asks for; the rest is empty."""

    nats: list[np.ndarray]  # the log-probability of each answer
    greedy: list[np.ndarray]  # whether each token of each answer is the likeliest
    n_tokens_N: np.ndarray  # of the first answer; bytes too
    n_bytes_N: np.ndarray
    texts: list[str]
    n_cut: int  # questions that lost the beginning of their prompt

    def of(self, number: int, question: Question, kind: str) -> dict:
        """What was answered to a question, for a file of samples."""
        if kind == "generate":
            return {"text": self.texts[number]}
        nats, greedy = self.nats[number].tolist(), self.greedy[number].tolist()
        found = {"nats": nats, "greedy": greedy}
        if kind == "cloze":
            return found
        return found | {"right": question.right, "chosen": int(np.argmax(nats))}


class Answerer:
    """A model that is ready to answer, on a mesh or one device."""

    def __init__(self, given: Source, on: Mesh | None = None):
        self.given, self.on, self.cfg, self.tokenizer = given, on, given.cfg.model, given.tokenizer
        self.dialogue = Dialogue(given.tokenizer, given.chat)
        self.made: Writer | None = None

    @property
    def writer(self) -> Writer:
        """Made when it is asked for: it holds the weights a second time."""
        if self.made is None:
            self.made = decode.writer(self.given.params, self.cfg)
        return self.made

    def answer(self, task: Task, questions: Sequence[Question], shots: Sequence[Question], tell: Tell) -> Answers:
        """The answers in the order of the questions. Raises BadInput where no prompt can fit the model's context."""
        if task.kind == "generate":
            return self.written(task, questions, shots, tell)
        return self.scored(task, questions, shots, tell)

    def scored(self, task: Task, questions: Sequence[Question], shots: Sequence[Question], tell: Tell) -> Answers:
        pairs, n_bytes, owner = [], [], []
        for number, question in enumerate(questions):
            for answer in question.answers:
                pair, size = (
                    self.chat_pair(question, answer, shots) if task.chat else self.pair(question, answer, shots)
                )
                if len(pair[1]) > self.cfg.context:
                    raise BadInput(
                        f"task {task.name}, question {number}: an answer of {len(pair[1])} tokens, "
                        f"but model.context={self.cfg.context}"
                    )
                pairs.append(pair)
                n_bytes.append(size)
                owner.append(number)
        each = len(pairs) / len(questions)
        found = continuations.score(
            self.given.params, self.cfg, pairs, on=self.on, tell=lambda done: tell(int(done / each))
        )
        of = np.searchsorted(owner, np.arange(1, len(questions)))
        firsts = np.concatenate([[0], of])
        n_tokens = np.array([len(continuation) for _, continuation in pairs])
        cut = {number for number, is_cut in zip(owner, found.cut_N, strict=True) if is_cut}
        return Answers(
            np.split(found.nats_N, of),
            np.split(found.greedy_N, of),
            n_tokens[firsts].astype(np.float64),
            np.array(n_bytes)[firsts].astype(np.float64),
            [],
            len(cut),
        )

    def pair(self, question: Question, answer: str, shots: Sequence[Question]) -> tuple[Pair, int]:
        """The tokens of prompt and answer, and the bytes that the second stand for."""
        prompt, answer = split_at_blanks(with_shots(question, shots), answer)
        return pair_of(self.tokenizer, prompt, answer), len(answer.encode())

    def chat_pair(self, question: Question, answer: str, shots: Sequence[Question]) -> tuple[Pair, int]:
        messages = [*messages_of(question, shots), Message("assistant", answer)]
        parts = self.dialogue.example(messages)
        context = self.dialogue.prompt(messages[:-1])
        return (context, parts[-1].tokens), len(answer.encode())

    def written(self, task: Task, questions: Sequence[Question], shots: Sequence[Question], tell: Tell) -> Answers:
        most = self.cfg.context - task.max_tokens
        if most < 1:
            raise BadInput(f"task {task.name}: max_tokens={task.max_tokens}, but model.context={self.cfg.context}")
        prompts, texts = [self.prompt(task, question, shots) for question in questions], []
        for first in range(0, len(prompts), AT_ONCE):
            found = completion.complete(
                self.writer,
                self.tokenizer,
                [prompt[-most:] for prompt in prompts[first : first + AT_ONCE]],
                n_tokens=task.max_tokens,
                options=Sampling(temperature=0.0),
                stops=(*task.stops, *(self.dialogue.stops if task.chat else ())),
            )
            texts += [text.text.lstrip() if task.chat else text.text for (text,) in found]
            tell(len(texts))
        n_cut = sum(len(prompt) > most for prompt in prompts)
        none = np.zeros(len(questions), np.float64)
        return Answers([], [], none, none, texts, n_cut)

    def prompt(self, task: Task, question: Question, shots: Sequence[Question]) -> list[int]:
        """The tokens before an answer, shots first, never empty; not yet cut to the context."""
        if task.chat:
            return self.dialogue.prompt(messages_of(question, shots))
        return self.tokenizer.encode(with_shots(question, shots)).tolist() or [self.tokenizer.end_of_text]


AT_ONCE = 64  # texts written between two words of progress


def messages_of(question: Question, shots: Sequence[Question]) -> list[Message]:
    turns = [(shot.prompt, shot.answers[shot.right].strip()) for shot in shots]
    said = [Message(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True)]
    return [*said, Message("user", question.prompt)]


def split_at_blanks(prompt: str, answer: str) -> tuple[str, str]:
    """Blanks at the end of a prompt belong to the answer, where subwords expect them."""
    kept = prompt.rstrip()
    return kept, prompt[len(kept) :] + answer


def pair_of(tokenizer: Tokenizer, prompt: str, answer: str) -> Pair:
    """Encoded together, for a subword may span both, and cut behind the prompt's own; an empty prompt is an end of
    text, as before every document."""
    if not prompt:
        return [tokenizer.end_of_text], tokenizer.encode(answer).tolist()
    context, whole = tokenizer.encode(prompt).tolist(), tokenizer.encode(prompt + answer).tolist()
    if len(whole) <= len(context):  # the answer vanished in a subword
        return context, tokenizer.encode(answer).tolist()
    return context, whole[len(context) :]
