"""How a plan reads: tables on a terminal, plain lines elsewhere. docs/plan.md explains each line."""

import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gptjax.planning import parameters

GIB = 2**30


def show(found: dict[str, Any]) -> None:
    """The plan of `commands/plan.py`'s `figures`, line by line; what is not known is left blank."""
    console = screen()
    mesh = " ".join(f"{axis}={size}" for axis, size in found["mesh"].items())
    console.print(f"{found['config']} on {found['topology']}: {found['n_devices']} x {found['device_kind']}, {mesh}")
    console.print(parameters.said(found["n_trained"], found["n_params"]))
    console.print(verdict(found))
    if found["fits"] is False and found["topology"] != "this machine":
        console.print("the same command with --search proposes what fits")
    for title, columns, rows in (memory_rows(found), collective_rows(found), roofline_rows(found)):
        table(console, title, columns, [row for row in rows if row[1] != "(unknown)"])
    flops, guess = found["flops"], found["estimate"]
    console.print(
        f"model FLOPs: {flops['model_per_token']:.4g} a token, {flops['model_per_step']:.4g} a step "
        f"({flops['hardware_per_step']:.4g} with what is computed again)"
    )
    if found["n_trained"] < found["n_params"]:
        console.print("FLOPs, seconds and traffic are those of training all parameters, which are more")
    basis = {
        "compiler": "ESTIMATE by the compiler's cycles, which leave out Pallas kernels and the network",
        "roofline": "AT BEST, by the roofline: real steps take longer",
    }[guess["basis"]]
    if guess["step_s"] is None:
        console.print("how long a step takes: unknown, since the chip's speed is")
    else:
        console.print(f"step {shown(guess['step_s'], ' s')}, MFU {percent(guess['mfu'])} ({basis})")
        console.print(
            f"{shown(guess['tokens_per_day'])} tokens a day, {shown(guess['days'])} days, "
            f"{shown(guess['chip_hours'])} chip-hours for the run"
        )
    if found["missing"]:
        console.print(f"not compiled: {found['missing']}. The figures above are a formula's.")
    elif found["compiler"].get("unknown_loops"):
        console.print(f"{found['compiler']['unknown_loops']} loops of unknown length were counted once")


def verdict(found: dict[str, Any]) -> str:
    total, hbm = found["memory_bytes"], found["hbm_bytes"]
    by = (
        "the compiler, never run"
        if found["source"] != "formula" or not found["fits"] and found["compiler"]
        else "formula"
    )
    if total is None or hbm is None:
        what = "does not fit" if found["fits"] is False else "fits: unknown, since the chip's memory is"
        return f"{what}; a device needs {shown(total and total / GIB, ' GiB')} (by {by})"
    word, spare = ("fits", "to spare") if found["fits"] else ("DOES NOT FIT", "too much")
    return (
        f"{word}: {total / GIB:.2f} of {hbm / GIB:.0f} GiB a device, {abs(hbm - total) / GIB:.2f} GiB {spare} (by {by})"
    )


def memory_rows(found: dict[str, Any]) -> tuple[str, Sequence[str], list[Sequence[str]]]:
    said, held = found["compiler"], found["memory"]
    names = [name for name in held if name not in ("temporaries", "total") and held[name]]
    rows = [(name, gib(held[name]), "") for name in names]
    rows += [
        ("arguments", gib(held["parameters"] + held["optimizer"] + held["batch"]), gib(said.get("argument_bytes"))),
        ("temporaries", gib(held["temporaries"]), gib(said.get("temp_bytes"))),
        ("all", gib(held["total"]), gib(found["memory_bytes"] if said.get("temp_bytes") else None)),
    ]
    return "memory of a device, GiB", ("", "by formula", "by the compiler"), list(rows)


def collective_rows(found: dict[str, Any]) -> tuple[str, Sequence[str], list[Sequence[str]]]:
    by = "compiled" if "collectives" in found["compiler"] else "by formula"
    rows = [
        (kind, f"{sent['times']:,.0f}" if by == "compiled" else "", gb(sent["ici_bytes"]), gb(sent["dcn_bytes"]))
        for kind, sent in found["collectives"].items()
    ]
    return f"what a device sends in a step, GB ({by})", ("", "times", "ICI or NVLink", "DCN"), list(rows)


def roofline_rows(found: dict[str, Any]) -> tuple[str, Sequence[str], list[Sequence[str]]]:
    bound = found["roofline"]
    rows = [
        (name, shown(bound[f"{name}_s"]), "binding" if name == bound["binding"] else "")
        for name in ("compute", "hbm", "ici", "dcn")
    ]
    return "a step takes at least, seconds", ("", "alone", ""), list(rows)


def show_search(choices: list[dict[str, Any]], file: str) -> None:
    """The best few layouts, best first, with what to add to the command line."""
    console = screen()
    first = choices[0]
    console.print(
        f"{file} on {first['topology']}: {first['n_devices']} x {first['device_kind']}, by formula, never run"
    )
    rows = []
    for number, one in enumerate(choices, 1):
        step, mfu = one["roofline"]["step_s"], one["estimate"]["mfu"]
        rows.append(
            (str(number), gib(one["memory_bytes"]), shown(step), percent(mfu), one["roofline"]["binding"] or "")
        )
    table(console, "", ("", "GiB a device", "step at best, s", "MFU at best", "bound by"), rows)
    for number, one in enumerate(choices, 1):
        console.print(f"{number}: {' '.join(one['overrides'])}", soft_wrap=True)


def screen() -> Console:
    return Console(highlight=False, soft_wrap=True, markup=False, width=None if sys.stdout.isatty() else 200)


def table(console: Console, title: str, columns: Sequence[str], rows: list[Sequence[str]]) -> None:
    if not rows:
        return
    style: Any = box.SIMPLE_HEAD if console.is_terminal else None
    made = Table(title=title or None, title_justify="left", box=style, pad_edge=False, title_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left")
    for row in rows:
        made.add_row(*row)
    console.print(made)


def gib(n: int | float | None) -> str:
    return "" if n is None else f"{n / GIB:.3f}"


def gb(n: int | float) -> str:
    return f"{n / 1e9:.3f}" if n else ""


def shown(n: int | float | None, unit: str = "") -> str:
    return "(unknown)" if n is None else f"{n:,.4g}{unit}" if n < 1e6 else f"{n:.4g}{unit}"


def percent(part: int | float | None) -> str:
    return "(unknown)" if part is None else f"{part:.1%}"
