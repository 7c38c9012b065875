"""`gptjax inspect`: what a model does with one text, as a table and as a page."""

import os
from typing import NamedTuple

import numpy as np

from gptjax.commands import analyze_files
from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer
from gptjax.insight import look, report
from gptjax.insight.look import Look, Patches
from gptjax.progress import progress_line
from gptjax.training import source

TERMS = 8  # of the answer's logit that are printed
WIDEST = 24  # characters of a token
NUMBER = tuple("+-0123456789")  # how one begins


class Asked(NamedTuple):
    """The flags of the command, by their names."""

    folder: str
    prompt: str
    corrupted: str | None
    answer: str | None
    instead: str | None
    html: str | None


def run(asked: Asked) -> int:
    """Prints the table, and writes the page that is asked for; raises BadInput."""
    check(asked)
    given = source.open_run(asked.folder)
    tokenizer = given.tokenizer
    with progress_line("looking inside", True) as tell:
        found = look.look(
            given.params,
            encoded(tokenizer, asked.prompt),
            given.cfg.model,
            None if asked.corrupted is None else encoded(tokenizer, asked.corrupted),
            None if asked.answer is None else single("--answer", asked.answer, tokenizer),
            None if asked.instead is None else single("--instead", asked.instead, tokenizer),
            tell=tell,
        )
    print_text(found, tokenizer)
    print_answer(found, tokenizer)
    if asked.html is not None:
        page = report.html(found, given.run, lambda token: tokenizer.decode([token]))
        analyze_files.put("html", asked.html, page.encode())
    return 0


def check(asked: Asked) -> None:
    """Refuses what cannot be before anything is opened."""
    for flag in ("folder", "prompt", "corrupted", "answer", "instead"):
        text = getattr(asked, flag)
        name = "--from" if flag == "folder" else f"--{flag}"
        if text == "":
            raise BadInput(f"{name}: is empty; give at least one character")
        if text is not None and any("\ud800" <= character <= "\udfff" for character in text):
            raise BadInput(f"{name}={text!r}: is not UTF-8")
    if asked.html is not None and not os.path.isdir(os.path.dirname(asked.html) or "."):
        raise BadInput(f"--html={asked.html}: there is no folder {os.path.dirname(asked.html)}")


def encoded(tokenizer: Tokenizer, text: str) -> np.ndarray:
    return np.asarray(tokenizer.encode(text), np.int32)


def single(flag: str, text: str, tokenizer: Tokenizer) -> int:
    """The one token that a text is."""
    tokens = encoded(tokenizer, text).tolist()
    if len(tokens) != 1:
        first = tokenizer.decode(tokens[:1])
        raise BadInput(f"{flag}={text!r}: is {len(tokens)} tokens, and an answer is one; the first is {first!r}")
    return tokens[0]


def print_text(found: Look, tokenizer: Tokenizer) -> None:
    """A line for each token: how surprising it was, and what the model says after it."""
    likely_T, nats_T = (part[-1, :, 0].tolist() for part in (found.lens.tokens_RBTk, -found.lens.log_probs_RBTk))
    rows = [("", "token", "surprise, nats", "then likeliest", "")]
    for at, token in enumerate(found.tokens_T.tolist()):
        surprise = f"{found.lens.nats_RBt[-1, at - 1]:.3f}" if at else ""
        rows.append((str(at), spelled(tokenizer, token), surprise, spelled(tokenizer, likely_T[at]), odds(nats_T[at])))
    print_columns(rows)
    print(f"{len(found.tokens_T)} tokens, {found.lens.nats_RBt[-1].mean():.4f} nats a token")


def print_answer(found: Look, tokenizer: Tokenizer) -> None:
    """What each layer makes of the answer, and who writes it."""
    answer = spelled(tokenizer, found.answer)
    print(f"\nafter the last token, layer by layer (logit lens), beside {answer}:")
    likely_R, nats_R = (part[:, -1, 0].tolist() for part in (found.lens.tokens_RBTk, -found.lens.log_probs_RBTk))
    rows = [("before layer", "likeliest", "", "from the model, nats")]
    for reading, (token, nats, kl) in enumerate(zip(likely_R, nats_R, found.lens.kl_RBT[:, -1], strict=True)):
        name = "the end" if reading == len(likely_R) - 1 else str(reading)
        rows.append((name, spelled(tokenizer, token), odds(nats), f"{kl:.3f}"))
    print_columns(rows)
    print(f"\nthe logit of {answer}, {found.direct.total_BT[-1]:.3f}, is the sum of what is written for it; most by:")
    terms = sorted(named(found), key=lambda one: -abs(one[1]))[:TERMS]
    print_columns([("", "logits"), *((name, f"{value:+.3f}") for name, value in terms)])
    if found.patches is not None:
        against = "" if found.instead is None else f" rather than {spelled(tokenizer, found.instead)}"
        print(f"\nput into the corrupted run, what restores {answer}{against} most (0 nothing, 1 all of it):")
        print_columns([("", "restores"), *restoring(found.patches)])


def named(found: Look) -> list[tuple[str, float]]:
    """The terms of the answer's logit."""
    direct = found.direct
    made = [("embedding", float(direct.embedding_BT[-1])), ("last norm's bias", float(direct.norm_bias_BT[-1]))]
    for (layer, head), value in np.ndenumerate(direct.heads_LBTN[:, -1]):
        made.append((f"layer {layer}, head {head}", float(value)))
    for name, values_LT in (("attention's bias", direct.attn_bias_LBT), ("MLP", direct.mlp_LBT)):
        made += [(f"layer {layer}, {name}", float(value)) for layer, value in enumerate(values_LT[:, -1])]
    return made


def restoring(patches: Patches) -> list[tuple[str, str]]:
    """The places of the stream, and the heads, that bring back most of the answer."""
    names = {"positions_LT": "residual stream before layer {}, token {}", "heads_LN": "layer {}, head {}"}
    best = []
    for field, name in names.items():
        found = [(float(value), name.format(*place)) for place, value in np.ndenumerate(getattr(patches, field))]
        best += sorted(found, key=lambda one: -one[0])[: TERMS // 2]
    return [(name, f"{value:.3f}") for value, name in best]


def spelled(tokenizer: Tokenizer, token: int) -> str:
    text = repr(tokenizer.decode([token]))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 2]}…'"


def odds(nats: float) -> str:
    return f"{np.exp(-nats):.1%}"


def print_columns(rows: list[tuple[str, ...]]) -> None:
    """Two spaces apart; a column of numbers is aligned on the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(wide) if cell[:1] in NUMBER else cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())
