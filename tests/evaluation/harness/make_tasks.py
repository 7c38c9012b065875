"""Makes the four tasks' questions, the .jsonl files beside this one, from Python's own library:

python -m tests.evaluation.harness.make_tasks

| task | kind | what is asked |
|---|---|---|
| python_module | multiple_choice | of which of four modules a docstring's first line is |
| python_word | loglikelihood | the last word of a line of code, after the lines before it |
| python_prose | loglikelihood_rolling | a paragraph of the language reference |
| python_line | generate_until | the rest of a line of code |
"""

import ast
import json
import pathlib
import random
import re
import sysconfig
from collections.abc import Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent
N = 40  # questions of a task
LIBRARY = pathlib.Path(sysconfig.get_path("stdlib"))


def main() -> None:
    rng = random.Random(0)
    summaries = sorted(found_summaries())
    chosen = rng.sample(summaries, N + 8)
    modules = [module for module, _ in summaries]
    asked = [of_module(rng, module, summary, modules) for module, summary in chosen]
    write("python_module", asked[:N])
    write("python_module_shots", asked[N:])
    write("python_word", rng.sample(list(words()), N))
    write("python_prose", rng.sample(list(paragraphs()), N))
    write("python_line", rng.sample(list(lines()), N))


def write(name: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / f"{name}.jsonl").write_text(text, encoding="utf-8")


def sources() -> Iterator[tuple[str, str]]:
    for file in sorted(LIBRARY.glob("*.py")):
        if not file.stem.startswith("_"):
            yield file.stem, file.read_text(encoding="utf-8")


def found_summaries() -> Iterator[tuple[str, str]]:
    for module, text in sources():
        said = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        if 20 < len(said) < 60 and module not in said.lower():
            yield module, said


def of_module(rng: random.Random, module: str, summary: str, modules: list[str]) -> dict[str, Any]:
    choices = [module, *rng.sample([other for other in modules if other != module], 3)]
    rng.shuffle(choices)
    return {"summary": summary, "choices": choices, "right": choices.index(module)}


def code() -> Iterator[list[str]]:
    """Runs of four lines, every seventh."""
    for _, text in sources():
        found = [line for line in text.split("\n") if line.strip() and not line.strip().startswith(("#", '"'))]
        yield from (found[at : at + 4] for at in range(0, len(found) - 4, 7))


def words() -> Iterator[dict[str, Any]]:
    for run in code():
        found = re.fullmatch(r"(.*\S)( \S+)", run[-1])
        if found and found[2] in (" None", " True", " False", " self", " 0", " in", " not", " ="):
            yield {"context": "\n".join([*run[:-1], found[1]])[-160:], "word": found[2]}


def paragraphs() -> Iterator[dict[str, Any]]:
    from pydoc_data.topics import topics

    for _, text in sorted(topics.items()):
        for paragraph in re.split(r"\n\s*\n", text):
            if 90 < len(paragraph) < 220:
                yield {"text": " ".join(paragraph.split())}


def lines() -> Iterator[dict[str, Any]]:
    for run in code():
        for cut in (r"(\s*\w+)(\W.*)", r"(\s*\S.*)( \S+)"):
            found = re.fullmatch(cut, run[-1])
            if found and len(found[2]) < 8:
                yield {"context": "\n".join([*run[:-1], found[1]])[-140:], "rest": found[2]}


if __name__ == "__main__":
    main()
