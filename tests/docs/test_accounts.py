"""Every block of every page is accounted for: it is run, or says why it is not, and what it says is so."""

import re

import pytest

from tests.docs import given, pages, reader, shell
from tests.docs.pages import ROOT, Block

NEEDS = {  # what is not at hand, and the words by which a block names it
    "several hosts": r"10\.0\.0\.1|/shared/",
    "Slurm": r"#SBATCH|srun",
    "Google Cloud": r"gcloud|gs://",
    "Kubernetes": r"kubectl",
    "a TPU": r"\[tpu\]|--topology=v\d|tpu-v\d",
    "a GPU": r"cuda12|--gpus|nvidia",
    "a hub": r"openai-community/|hellaswag|git\+https",
    "Docker": r"docker",
    "the network": r"git clone|https://",
}
PEERS = r"git clone|python -m benchmarks\."
COMMAND = re.compile(r"^(\$ )?(gptjax [a-z]|python -m|pip install|make [a-z]+$)", re.MULTILINE)


def test_every_block_is_run_or_says_why_not():
    blocks = [block for page in pages.pages() for block in pages.read(page)[0]]
    assert len(blocks) > 50
    for block in blocks:
        account(block)


def account(block: Block) -> None:
    """Raises AssertionError for a block that is neither run nor has a reason that is true."""
    where = block.name
    assert block.language in (*pages.COMMANDS, pages.PYTHON, *pages.SHOWN), f"{where}: nobody reads {block.language}"
    assert block.label in pages.LABELS, f"{where}: nobody knows the label {block.label}"
    assert bool(block.reason) == (block.label not in ("", "prove")), f"{where}: {block.label} {block.reason}"
    if block.language in pages.SHOWN:
        assert not block.label and not COMMAND.search(block.text), f"{where}: a command that is only shown"
    if block.label == "never run":
        assert re.search(NEEDS[block.reason], block.text), f"{where}: it names nothing of {block.reason}"
    if block.label == "measured":
        assert block.reason == "the peers" and re.search(PEERS, block.text), where
    if block.label == "elsewhere":
        file, _, test = block.reason.partition("::")
        assert f"def {test or 'test_'}" in (ROOT / file).read_text(), f"{where}: {block.reason} is not there"
    if block.label == "exits":
        assert block.reason.isdigit(), where


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"language": "fortran"}, "nobody reads"),
        ({"label": "later", "reason": "why"}, "nobody knows the label"),
        ({"label": "never run", "reason": "a TPU"}, "names nothing of a TPU"),
        ({"label": "elsewhere", "reason": "tests/docs/test_accounts.py::test_nothing"}, "is not there"),
        ({"language": "text"}, "only shown"),
    ],
)
def test_what_is_no_reason_is_seen(changes, words):
    with pytest.raises(AssertionError, match=words):
        account(Block("page", 1, "sh", "gptjax train --config=x", "", "")._replace(**changes))


def test_what_is_said_of_pages_is_of_pages_that_say_it():
    assert set(given.GIVEN) <= set(pages.pages())
    texts = {page: (ROOT / page).read_text() for page in pages.pages()}
    replaced = " ".join(reader.SAID_OTHERWISE.values())
    for page, names in given.GIVEN.items():
        for name in names:
            first = name.split("/")[0]
            assert first in texts[page] + replaced, f"{page} takes no {name} for granted"
    for words in reader.SAID_OTHERWISE:
        assert any(words in text for text in texts.values()), words


PAGE = """# A page

Words, and `code`.

<!-- block: never run, a TPU -->
```sh
gptjax plan
```

- a list

      of more

    one

    two

<!-- section: prove -->

```python
a = 1
```

~~~
b
~~~

## Next

```text
c
```
"""


def test_blocks_are_found_by_their_fences_and_by_their_indentation():
    blocks, prose = pages.split("page", PAGE)
    assert [(block.line, block.language, block.text, block.label, block.reason) for block in blocks] == [
        (6, "sh", "gptjax plan", "never run", "a TPU"),
        (20, "python", "a = 1", "prove", ""),
        (24, "", "b", "prove", ""),
        (30, "text", "c", "", ""),
    ]
    assert prose.count("\n") + 1 == PAGE.count("\n") and pages.spans(prose) == ["code"]
    assert pages.split("page", "a\n\n    b\n\n    c\n\nd")[0][0].text == "b\n\nc"
    with pytest.raises(AssertionError, match="above no block"):
        pages.split("page", "<!-- block: prove -->\nwords")


def test_a_shell_says_what_it_would_start(tmp_path):
    text = "for a in 1 'b c'; do\n  gptjax x --y=$a \\\n    *.none  # why\ndone\nA=1 python -m z > out &&\n make"
    assert shell.started(text, tmp_path, tmp_path) == [
        ["gptjax", "x", "--y=1", "*.none"], ["gptjax", "x", "--y=b", "c", "*.none"], ["python", "-m", "z"], ["make"]
    ]  # fmt: skip
    assert shell.typed("$ a \\\n b\nanswer\n$ c", "console") == "a \\\n b\nc"
    with pytest.raises(AssertionError, match="syntax error"):
        shell.started("for a in", tmp_path, tmp_path)
