"""Which matrices have adapters (LoRA, Hu et al. 2021), and the names and shapes of these; imports no jax.

Beside a matrix `w_q` lie `w_q_lora_a` and `w_q_lora_b`, and the model sees w_q + alpha / rank a b (section 4.1).
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence

from gptjax.config import BadInput, LoraConfig

A, B = "_lora_a", "_lora_b"  # what follows the matrix's name
BLOCKS = "blocks/"
FORMS = {  # a, b -> the matrix, with r for the rank; the dots are the layers, which blocks have in front
    "attn/w_q": "...Dr,...rNH->...DNH",
    "attn/w_k": "...Dr,...rKH->...DKH",
    "attn/w_v": "...Dr,...rKH->...DKH",
    "attn/w_out": "...NHr,...rD->...NHD",
    "mlp/w_in": "...CDr,...CrF->...CDF",  # of each gate its own
    "mlp/w_out": "...Fr,...rD->...FD",
    "w_tok": "Vr,rD->VD",
    "w_pos": "Tr,rD->TD",
    "w_head": "Dr,rV->VD",
}
LOOKUPS = ("w_tok", "w_pos")  # in which a row is looked up
Shape = tuple[int, ...]


def form(name: str) -> str:
    """The einsum of a matrix, under its name in a whole tree or in one layer."""
    return FORMS[name.removeprefix(BLOCKS)]


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name is one of an adapter's two matrices."""
    return name.endswith((A, B))


def nearest(pattern: str, names: Sequence[str]) -> str:
    """The name that a pattern which fits none was meant to fit: one that ends so, or one written like it."""
    ending = (name for name in names if name.endswith(pattern))
    return next(ending, difflib.get_close_matches(pattern, names, n=1, cutoff=0.0)[0])


def adapted(shapes: Mapping[str, Shape], cfg: LoraConfig) -> list[str]:
    """The matrices, of a model's parameters, that have adapters; raises BadInput where none has or the rank is none."""
    if cfg.rank == 0:
        return []
    matrices = [name for name in shapes if name.removeprefix(BLOCKS) in FORMS]
    found = [name for name in matrices if re.fullmatch(cfg.matrices, name)]
    if not found:
        raise BadInput(
            f"lora.matrices={cfg.matrices!r} fits no matrix; did you mean {nearest(cfg.matrices, matrices)}?"
        )
    for name in found:
        sides = sizes(name, shapes[name])
        ins, outs = (math.prod(sides[letter] for letter in letters) for letters in ends(name))
        if cfg.rank > min(ins, outs):
            raise BadInput(
                f"lora.rank={cfg.rank}: {name} has {ins} inputs and {outs} outputs; try {min(ins, outs)}, or less"
            )
    return found


def shapes(of: Mapping[str, Shape], cfg: LoraConfig) -> dict[str, Shape]:
    """{name: shape} of the adapters of a model whose parameters have these shapes. Raises BadInput, as `adapted`."""
    found = {}
    for name in adapted(of, cfg):
        sides = sizes(name, of[name]) | {"r": cfg.rank}
        layers = of[name][:1] if name.startswith(BLOCKS) else ()
        for suffix, letters in zip((A, B), factors(name), strict=True):
            found[name + suffix] = (*layers, *(sides[letter] for letter in letters))
    return found


def sizes(name: str, shape: Shape) -> dict[str, int]:
    """The length of each side of a matrix, by its letter."""
    letters = form(name).split("->")[1].replace(".", "")
    return dict(zip(letters, shape[-len(letters) :], strict=True))


def factors(name: str) -> list[str]:
    """The letters of a matrix's two adapters, but for the layers."""
    return form(name).replace(".", "").split("->")[0].split(",")


def sides(adapter: str) -> str:
    """The letters of an adapter's sides, L for the layers in front."""
    a, b = factors(adapter[: -len(A)])
    return ("L" if adapter.startswith(BLOCKS) else "") + (a if adapter.endswith(A) else b)


def ends(name: str) -> tuple[str, str]:
    """The letters of a matrix's inputs, and of its outputs."""
    a, b = factors(name)
    return "".join(x for x in a if x not in b), "".join(x for x in b if x not in a)
