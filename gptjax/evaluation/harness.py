"""A model of gptjax for lm-evaluation-harness (Gao et al.), which knows it as `gptjax`.

Its own command runs it so, for it looks for models in no other package by itself:

    python -m gptjax.evaluation.harness run --model gptjax --model_args from=RUN --tasks hellaswag

What is asked is what the harness's `hf` backend asks of an exported model: the same tokens, the same windows, the same
way of cutting what is too long. How a request is answered depends on that request alone, so `batch_size` means nothing.
"""

import collections
import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh
from lm_eval import utils
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from gptjax.config import BadInput
from gptjax.data.templates import TEMPLATE, Message, alternatives, shown
from gptjax.evaluation import continuations
from gptjax.generation import decode
from gptjax.generation.completion import STOP_EVERY, Growing
from gptjax.generation.decode import Prompt, Writer
from gptjax.generation.dialogue import Dialogue
from gptjax.generation.engine import MOST_STEPS
from gptjax.generation.sampling import Sampling
from gptjax.planning import flops
from gptjax.progress import progress_line
from gptjax.training import source
from gptjax.training.source import Source

MAX_TOKENS = 256  # of an answer where a task does not say, as in the harness's other models
IGNORED = ("do_sample", "until", "max_gen_toks")  # read apart from the options of sampling
OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
Request = tuple[tuple[str, str] | None, list[int], list[int]]  # texts, tokens of the context and of what follows


class HarnessModel(TemplateLM):
    """The weights that `--from` names, on a mesh or on this process's first device."""

    def __init__(self, given: Source, on: Mesh | None = None):
        super().__init__()
        self.given, self.on, self.cfg = given, on, given.cfg.model
        self.form = Dialogue(given.tokenizer, given.chat)
        self.max_length = self.cfg.context

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> "HarnessModel":
        """Of `--model_args from=DIR`. What the harness adds (batch size, device) changes nothing here."""
        if set(arg_dict) != {"from"}:
            raise BadInput(f"--model_args={','.join(map(str, arg_dict))}: is from=DIR, as gptjax evaluate has it")
        return cls(source.open_run(str(arg_dict["from"])))

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> "HarnessModel":
        return cls.create_from_arg_obj(utils.simple_parse_args_string(arg_string), additional_config)

    @functools.cached_property
    def writer(self) -> Writer:
        return decode.writer(self.given.params, self.cfg)

    @property
    def eot_token_id(self) -> int:
        return self.given.tokenizer.end_of_text

    @property
    def tokenizer_name(self) -> str:
        return f"gptjax-{self.given.tokenizer.name}-{self.given.tokenizer.fingerprint[:16]}"

    def get_model_info(self) -> dict[str, Any]:
        return {
            "model_num_parameters": flops.n_params(self.cfg),
            "model_dtype": self.cfg.dtype,
            "model_revision": f"{self.given.run} step {self.given.step}",
        }

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: object) -> list[int]:
        """The tokens of a text. One that spells a special token has it, as transformers reads it: the harness hands
        on what a chat template wrote as text."""
        special = self.given.tokenizer.special
        parts = re.split(f"({alternatives(self.form.spellings)})", string) if special else [string]
        tokens: list[int] = []
        for number, part in enumerate(parts):
            tokens += [special[part]] if number % 2 else self.given.tokenizer.encode(part).tolist() if part else []
        return tokens

    def _loglikelihood_tokens(self, requests: Sequence[Request], **kwargs: object) -> list[tuple[float, bool]]:
        with progress_line("scoring", True) as show:
            found = continuations.score(
                self.given.params,
                self.cfg,
                [(context, following) for _, context, following in requests],
                on=self.on,
                tell=lambda done: show(f"{done:,} of {len(requests):,} requests"),
            )
        answers = list(zip(found.nats_N.tolist(), found.greedy_N.tolist(), strict=True))
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Summed over windows of the model's context, the first behind an end of text, the others behind the last
        tokens before them; every token is scored once."""
        windows: list[Request] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for pair in utils.get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, 1):
                windows.append((None, *utils.make_disjoint_window(pair)))
                owners.append(number)
        sums = [0.0] * len(requests)
        for number, (nats, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            sums[number] += nats
        for request, nats in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, nats)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy, or drawn where `do_sample` or a temperature above 0 asks for it; an n-th request of the same words is
        an n-th sample. Raises BadInput for what a task asks and no text here can be."""
        alike: dict[str, list[int]] = collections.defaultdict(list)
        for number, request in enumerate(requests):
            alike[json.dumps(request.arguments[1], sort_keys=True)].append(number)
        texts = [""] * len(requests)
        with progress_line("writing", True) as show:
            for asked, numbers in alike.items():
                prompts = [requests[number].arguments[0] for number in numbers]
                found = self.written(prompts, json.loads(asked), lambda n: show(f"{n:,} tokens"))
                for number, text in zip(numbers, found, strict=True):
                    texts[number] = text
        for request, text in zip(requests, texts, strict=True):
            self.cache_hook.add_partial("generate_until", request.arguments, text)
        return texts

    def written(self, prompts: Sequence[str], asked: dict[str, Any], tell: Callable[[int], None]) -> list[str]:
        """What each prompt goes on with, by the generation_kwargs of its task; `tell` is given the tokens so far."""
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(asked, min(MAX_TOKENS, self.max_length // 2)))
        n_tokens = kwargs["max_gen_toks"]
        if not 0 < n_tokens < self.max_length:
            raise BadInput(f"max_gen_toks={n_tokens}: must be above 0 and below model.context={self.max_length}")
        given, growing = [], []
        repeats: collections.Counter[str] = collections.Counter()
        for prompt in prompts:
            tokens = self.tok_encode(prompt)[-(self.max_length - n_tokens) :] or [self.prefix_token_id]
            given.append(Prompt(tokens, 0, repeats[prompt]))
            growing.append(Growing(self.given.tokenizer, self.stops(prompt, kwargs["until"])))
            repeats[prompt] += 1

        def on_tokens(number: int, tokens: list[int]) -> bool:
            growing[number].grow(tokens)
            tell(sum(text.n_tokens for text in growing))
            return growing[number].stopped

        stopping = any(text.stops for text in growing)
        found = self.writer.write(
            given,
            n_tokens=n_tokens,
            options=options(kwargs),
            end=self.eot_token_id,
            every=STOP_EVERY if stopping else MOST_STEPS,
            on_tokens=on_tokens,
        )
        for text, made in zip(growing, found, strict=True):
            text.grow(made.tokens.tolist(), finished=True)
        return [
            self.form.opening()(text.text) if self.answers(prompt) else text.text
            for prompt, text in zip(prompts, growing, strict=True)
        ]

    def stops(self, prompt: str, until: Sequence[str]) -> list[str]:
        """What ends an answer: what the task says, an end of text that is spelled, and the form of the dialogue."""
        of_form = self.form.stops if self.answers(prompt) else ()
        return [stop for stop in [*until, self.form.names["eos_token"], *of_form] if stop]

    def answers(self, prompt: str) -> bool:
        """Whether a prompt is a dialogue in the plain form, which ends where the model speaks."""
        return not self.given.chat and prompt.endswith("\nAssistant:")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as text, in the run's chat template, or in the plain form where it has none; without a generation
        prompt the last message is left open, to be gone on with."""
        messages = [Message(message["role"], message["content"]) for message in chat_history]
        mark = self.form.mark(messages)
        text = shown(self.form.render(messages, mark, ask=add_generation_prompt), self.form.spellings, mark)
        if add_generation_prompt:
            return text
        last = messages[-1].content.lstrip()
        said = last.rstrip()
        end = text.rindex(said) + len(said)
        blanks = last.removeprefix(said)  # which a template may strip
        return text[: end + len(blanks)] if text.startswith(blanks, end) else text[:end]

    def chat_template(self, chat_template: bool | str = False) -> str:
        return self.given.chat[TEMPLATE] if chat_template and self.given.chat else ""


def options(kwargs: Mapping[str, Any]) -> Sampling:
    """The sampling that normalised generation_kwargs ask for. Raises BadInput for what is not known here."""
    beams = {"num_beams": 1, "num_return_sequences": 1}  # said by some tasks, and the only ones that there are
    for name, value in kwargs.items():
        if name not in (*IGNORED, *OPTIONS) and beams.get(name) != value:
            raise BadInput(f"generation_kwargs: no {name}={value!r} here; it has {', '.join((*IGNORED, *OPTIONS))}")
    if not kwargs["do_sample"]:
        greedy = {name: kwargs[name] for name in ("repetition_penalty",) if name in kwargs}
        return Sampling(temperature=0.0, **greedy)
    return Sampling(**{name: kwargs[name] for name in OPTIONS if kwargs.get(name) is not None})


register_model("gptjax")(HarnessModel)

if __name__ == "__main__":
    cli_evaluate()
