"""What `gptjax audit` prints: tables, and in words what they mean and what they do not."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gptjax.evaluation.scores import CONFIDENCE

MOST_PLACES = 20  # of a kind, on a screen; the JSON file has all


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal with lines, elsewhere as plain columns."""
    if sys.stdout.isatty():
        drawn = Table(*head, title=title, title_justify="left", highlight=False)
        for row in rows:
            drawn.add_row(*row)
        Console().print(drawn)
        return
    print(title)
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show(report: dict[str, Any]) -> None:
    """The report of a model."""
    found = report["canaries"]
    if found is not None:
        title = f"canaries: {found['planted']} of {found['n']} were planted; {found['bits']:.1f} bits each"
        head = ("planted", "n", "extracted", "95%", "sampled", "exposure", "95%", "by fit")
        table(title, head, [*map(of_group, found["groups"]), of_left_out(found)])
        bounds = [of_bound(group) for group in found["groups"]]
        table("one run's lower bound of epsilon", ("planted", "coins", "guesses", "right", "epsilon", "most"), bounds)
    if report["attacks"]:
        head = ("attack", "on", "members", "others", "AUC", "95%", "TPR at 1% FPR", "95%", "at 0.1%", "95%")
        table("membership", head, [of_attack(attack) for attack in report["attacks"]])
    for line in meaning(report):
        print(line)
    print(report["command"])


def of_group(group: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{group['repeats']} x",
        str(group["planted"]),
        *spelled(group["extracted"], "{:.1%}"),
        spelled(group["sampled"], "{:.1%}")[0],
        *spelled(group["exposure"], "{:.2f}"),
        spelled(group["fitted"], "{:.1f}")[0],
    )


def of_left_out(found: dict[str, Any]) -> tuple[str, ...]:
    left_out, n = found["left_out"], found["n"] - found["planted"]
    exposures = *spelled(left_out["exposure"], "{:.2f}"), spelled(left_out["fitted"], "{:.1f}")[0]
    return ("left out", str(n), "", "", "", *exposures)


def of_bound(group: dict[str, Any]) -> tuple[str, ...]:
    bound = group["epsilon"]
    numbers = (str(bound[name]) for name in ("n_coins", "n_guesses", "n_right"))
    return (f"{group['repeats']} x", *numbers, f"{bound['epsilon']:.2f}", f"{bound['most']:.2f}")


def of_attack(attack: dict[str, Any]) -> tuple[str, ...]:
    rates = [cell for value in attack["tpr"].values() for cell in spelled(value, "{:.1%}")]
    numbers = str(attack["members"]), str(attack["others"])
    return (attack["attack"], attack["on"], *numbers, *spelled(attack["auc"], "{:.3f}"), *rates)


def spelled(figure: dict[str, Any] | None, form: str) -> tuple[str, str]:
    """A value and its interval; blank where it is not known."""
    if figure is None:
        return "", ""
    return form.format(figure["value"]), " to ".join(form.format(bound) for bound in figure["interval"])


def meaning(report: dict[str, Any]) -> Iterator[str]:
    """In words; intervals are of `CONFIDENCE`."""
    found = report["canaries"]
    if found is not None:
        yield (
            f"Exposure: bits by which a code stands out among {found['others']:,} that could stand in its place; "
            f"{found['chance']:.2f} on average where nothing is known of it."
        )
        yield (
            f"Epsilon: training that is (epsilon, {report['delta']:g})-private, with an epsilon below the bound, gives "
            f"so many coins away less than one time in {1 / (1 - CONFIDENCE):.0f}."
        )
        yield "A small bound, and 0, is no proof of privacy: other attacks may see more."
        if not found["row"]:
            yield (
                "A canary's document may lie in two windows, or beside other text in one: the bound is of whole "
                "documents. With --row=CONTEXT each is one example."
            )
        if any(group["repeats"] > 1 for group in found["groups"]):
            yield "A canary planted r times is r examples: its bound is of r together, not of one."
    if any(value is None for attack in report["attacks"] for value in attack["tpr"].values()):
        yield "A rate at 1% (0.1%) false positives needs 100 (1,000) others, and is blank below."
    if report["attacks"]:
        yield (
            "AUC 0.5 and a TPR equal to its FPR are guesses. Members and others must be alike but for membership: of "
            "other kind or time, an attack tells the kind apart."
        )


def show_corpus(report: dict[str, Any]) -> None:
    """The report of a corpus: how many of each kind, and the first places of each."""
    print(f"{report['documents']:,} documents, {report['characters']:,} characters")
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    looked_for = [what for what in ("personal", "secrets") if what in report["looked_for"]]
    for what in looked_for:
        for one in report[what]:
            kinds.setdefault((what, one["kind"]), []).append(one)
    rows = [
        (what if not number else "", kind if not number else "", str(len(found)) if not number else "", *place(one))
        for (what, kind), found in sorted(kinds.items())
        for number, one in enumerate(found[:MOST_PLACES])
    ]
    if rows:
        table("personal data and secrets", ("found", "kind", "n", "document", "offset", "value"), rows)
    elif looked_for:
        print(f"{' and '.join(looked_for)}: none found")
    repeated = report["duplicates"]
    if "duplicates" in report["looked_for"]:
        print(f"duplicates: {len(repeated)} documents are at least {report['similar']:.0%} like one before them")
    if repeated:
        shown = [(one["document"], one["of"], f"{one['similarity']:.2f}") for one in repeated[:MOST_PLACES]]
        table("duplicates", ("document", "repeats", "likeness"), shown)
    if "personal" in looked_for:
        print("Names of persons and places are not looked for; a number of the right form may be anything.")
    print(report["command"])


def place(found: dict[str, Any]) -> tuple[str, str, str]:
    return f"{found['split']}/{found['document']}", str(found["offset"]), found["value"]
