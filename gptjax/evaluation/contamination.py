"""How much of an evaluation stood in the training text: n-grams of words that a question shares with it.

As in appendix C of Brown et al. 2020 (GPT-3): case, punctuation and blanks do not count, n is the 5th percentile of the
questions' lengths in words but at least 8 and at most 13, and a question one of whose n-grams occurs in the training
text is contaminated. A shorter question is looked for as a whole, and one of fewer than `FEWEST` words not at all: so
few words recur by chance. Words are what blanks and punctuation divide; of a script that writes none, little is found.

Only hashes of the questions' n-grams are held, 8 bytes each, and the training text goes by once, a block at a time.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool, UInt64

FEWEST, LEAST, MOST = 5, 8, 13  # words: of a question that is looked for, of n, of n
PERCENTILE = 5  # of the questions' lengths, which n is
WORD = re.compile(r"[^\W_]+")
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word of an n-gram is lost from its hash
MIXER = np.uint64(0xFF51AFD7ED558CCD)  # of MurmurHash3's last step
SIEVE_BITS = 22  # of a hash, by which nearly all n-grams of training text are told apart from all of the questions
BLOCK_CHARS = 2**22  # of training text in memory at once


class Grams(NamedTuple):
    """The questions of one task as hashes of n-grams."""

    n: int
    hashes: list[UInt64[np.ndarray, " _"]]  # of each question; none of one that is too short to tell
    lengths: frozenset[int]  # of all n-grams among them

    @property
    def fingerprint(self) -> str:
        """Sha256: what has been counted for it stands as long as this is the same."""
        digest = hashlib.sha256(f"{self.n} {sorted(self.lengths)}".encode())
        for found in self.hashes:
            digest.update(len(found).to_bytes(8) + found.tobytes())
        return digest.hexdigest()


class Overlap(NamedTuple):
    """What is known of one task; questions that are too short to tell count as clean."""

    n: int  # words of an n-gram
    dirty_N: Bool[np.ndarray, " N"]
    n_short: int  # questions of fewer than FEWEST words
    seen_bytes: int  # of training text looked through
    whole: bool  # whether that was all of it; else there may be more contaminated questions

    @property
    def share(self) -> float:
        return float(self.dirty_N.mean())

    def __str__(self) -> str:
        least = "" if self.whole else f" at least (of the first {self.seen_bytes / 1e9:.1f} GB)"
        short = f", {self.n_short} too short to tell" if self.n_short else ""
        return f"{self.share:.1%} of {len(self.dirty_N):,} questions in the training text{least}, n={self.n}{short}"

    def to_json(self) -> dict:
        """As reports hold it: counts, bytes, and the share from 0 to 1."""
        return {
            "share": self.share,
            "n_words": self.n,
            "questions": len(self.dirty_N),
            "contaminated": int(self.dirty_N.sum()),
            "too_short": self.n_short,
            "seen_bytes": self.seen_bytes,
            "whole": self.whole,
        }


def words_of(text: str) -> UInt64[np.ndarray, " W"]:
    """A hash of each word."""
    words = " ".join(WORD.findall(text.casefold())).encode().split()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, words), np.uint64)


def hashes_of(words_W: UInt64[np.ndarray, " W"], lengths: Iterable[int]) -> Iterator[UInt64[np.ndarray, " _"]]:
    """For each length, from the smallest, the hash of every n-gram: sums of powers, so a longer one is one step on."""
    sums_W, so_far = words_W, 1
    for length in sorted(lengths):
        while so_far < length:
            sums_W = sums_W[:-1] * FACTOR + words_W[so_far:]
            so_far += 1
        yield (sums_W ^ sums_W >> np.uint64(32)) * MIXER


def grams_of(questions: Sequence[str]) -> Grams:
    """The n-grams of the questions of one task."""
    words = [words_of(question) for question in questions]
    percentile = int(np.percentile([len(words_W) for words_W in words], PERCENTILE)) if words else 0
    n = min(MOST, max(LEAST, percentile))
    hashes, lengths = [], set()
    for words_W in words:
        length = min(n, len(words_W))
        if length < FEWEST:
            hashes.append(np.zeros(0, np.uint64))
            continue
        (found,) = hashes_of(words_W, [length])
        hashes.append(np.unique(found))
        lengths.add(length)
    return Grams(n, hashes, frozenset(lengths))


def found_in(texts: Iterable[str], tasks: Mapping[str, Grams]) -> dict[str, Bool[np.ndarray, " N"]]:
    """Of each task, which questions share an n-gram with the texts, which are read as one long text."""
    wanted_H = np.unique(
        np.concatenate([np.zeros(0, np.uint64), *(h for grams in tasks.values() for h in grams.hashes)])
    )
    lengths = frozenset().union(*(grams.lengths for grams in tasks.values()))
    there_H = np.zeros(len(wanted_H), np.bool_)
    sieve = np.zeros(2**SIEVE_BITS, np.bool_)
    sieve[wanted_H >> np.uint64(64 - SIEVE_BITS)] = True
    before_W = np.zeros(0, np.uint64)  # the last words of the block before, whose n-grams go on into this one
    for block in blocks(texts) if lengths else ():
        words_W = np.concatenate([before_W, words_of(block)])
        for hashes in hashes_of(words_W, lengths):
            maybe = hashes[sieve[hashes >> np.uint64(64 - SIEVE_BITS)]]
            at = np.minimum(np.searchsorted(wanted_H, maybe), len(wanted_H) - 1)
            there_H[at[wanted_H[at] == maybe]] = True
        before_W = words_W[-(max(lengths) - 1) :]
    shares = lambda hashes: bool(there_H[np.searchsorted(wanted_H, hashes)].any())
    return {name: np.array([shares(h) for h in grams.hashes], np.bool_) for name, grams in tasks.items()}


def blocks(texts: Iterable[str]) -> Iterator[str]:
    """The texts, joined by line ends into blocks of about BLOCK_CHARS."""
    group, size = [], 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= BLOCK_CHARS:
            yield "\n".join(group)
            group, size = [], 0
    if group:
        yield "\n".join(group)
