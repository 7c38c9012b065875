"""Held-out examples in two halves: on one everything is chosen, the other is scored once.

Metrics, baselines and their settings, steps and rates are chosen by `valid`, the development half, which is also what a
run evaluates on while it trains. The tables of the READMEs are of `test`. (`code` is judged by functions of another
source; its README says why.)
"""

import hashlib

VALID, TEST = "valid", "test"


def half(words: str) -> str:
    """The half of a held-out example, by the hash of its words."""
    return (VALID, TEST)[hash_of(words) % 2]


def hash_of(words: str) -> int:
    return int.from_bytes(hashlib.sha256(words.encode()).digest())


def title(name: str, split: str) -> str:
    """Of a task on one half."""
    return name if split == TEST else f"{name}_development"
