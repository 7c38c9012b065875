"""The flags of `gptjax audit`, which has two subjects: a model and a corpus."""

import argparse

from gptjax.parser import Row, add_rows

OF_MODEL: list[Row] = [
    ("canaries", str, None, "FILE", "what was planted, as --plant writes it: exposure, extraction, epsilon"),
    ("members", str, None, "GLOB", "texts that the model was trained on (.txt, .md, .py, .jsonl, .parquet)"),
    ("nonmembers", str, None, "GLOB", "texts like them that it was not trained on"),
    ("reference", str, None, "DIR", "a model with the same tokenizer that was not trained on them"),
    ("others", int, 256, "N", "codes drawn in the place of each canary's, to rank it among"),
    ("samples", int, 8, "N", "texts drawn after each canary's beginning, beside the likeliest one"),
    ("delta", float, 1e-5, "D", "of the (epsilon, delta) that one run's bound is for"),
    ("seed", int, 0, "S", "of what is drawn for the audit"),
]
OF_CORPUS: list[Row] = [
    ("find", str, "duplicates,personal,secrets", "NAME,...", "what is looked for, and left out or replaced in --to"),
    ("similar", float, 0.8, "X", "share of runs of five words from which on a document repeats another"),
    ("limit", int, 0, "N", "only the first N documents of each split; 0 = all"),
    ("to", str, None, "FOLDER", "write the corpus, for data.corpora=splits:FOLDER"),
    ("plant", int, 0, "N", "instead: make N canaries and plant those that a fair coin chooses; needs --to"),
    ("repeats", str, "1", "N,...", "of --plant: documents that hold a canary, by turns"),
    ("form", str, "The access code of {name} is {code}.", "TEXT", "of --plant: a canary's document"),
    ("alphabet", str, "0123456789", "LETTERS", "of --plant: what codes are made of"),
    ("code_length", int, 7, "N", "of --plant: letters of a code"),
    ("row", int, 0, "BYTES", "of --plant: fill each document up to a row of a model with this context; 0 = off"),
    ("secret_seed", str, None, "TEXT", "of --plant: draws the same canaries again; default: from the system"),
]
of_model, of_corpus = [row[0] for row in OF_MODEL], [*(row[0] for row in OF_CORPUS), "strict"]


def add_to(audit: argparse.ArgumentParser) -> None:
    """Adds the flags of both subjects, each under its own heading; `cli.py` refuses both at once."""
    audit.add_argument("--from", dest="folder", metavar="DIR", help="a model: a run, one checkpoint in it, or a folder")
    audit.add_argument("--corpus", metavar="NAME", help="a corpus, as in data.corpora")
    for title, rows in (("of --from", OF_MODEL), ("of --corpus", OF_CORPUS)):
        group = audit.add_argument_group(title)
        add_rows(group, rows)
        if rows is OF_CORPUS:
            group.add_argument("--strict", action="store_true", help="exit with 2 where anything is found")
    audit.add_argument("--json", metavar="FILE", help="write every figure, or every finding with its place")
