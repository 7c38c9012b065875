"""The interfaces that docs/architecture.md lists are there."""

import ast
import re

from tests.docs import pages
from tests.docs.pages import ROOT

BLOCK = next(block for block in pages.read("docs/architecture.md")[0] if "# model/gpt.py" in block.text)
NAMED = sorted(set(re.findall(r"(?<![\w.)])(?<!, )([a-z_0-9]+\.\w+)\(", BLOCK.text)))
BARE = re.findall(r"^(\w+)\(", BLOCK.text.partition("# data")[0], re.MULTILINE)


def defined(file) -> set[str]:
    """The names that a module makes at its top."""
    body = ast.parse(file.read_text()).body
    named = {one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)}
    assigned = [one for one in body if isinstance(one, ast.Assign)]
    return named | {target.id for one in assigned for target in one.targets if isinstance(target, ast.Name)}


def test_the_functions_of_the_list_are_there():
    assert len(NAMED) > 80
    for module, name in (listed.split(".") for listed in NAMED):
        files = [*ROOT.glob(f"gptjax/**/{module}.py"), *ROOT.glob(f"launch/{module}.py")]
        assert files, f"there is no {module}.py"
        assert any(name in defined(file) for file in files), f"{module}.py has no {name}"


def test_the_functions_of_the_model_are_there():
    assert {"init", "forward", "unembed", "init_cache"} <= set(BARE) <= defined(ROOT / "gptjax/model/gpt.py")
