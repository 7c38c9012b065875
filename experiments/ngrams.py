"""A language model without weights: how often each symbol followed the ones before it. The baseline to beat.

Orders are interpolated by the rule of Witten and Bell (1991): a context that was followed by many different symbols
leaves more to the shorter context. Below the shortest all symbols are alike.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

Symbols = TypeVar("Symbols", str, tuple[str, ...])  # one symbol is such a sequence too, of length 1


class NGrams(Generic[Symbols]):
    """Counts of up to `order` symbols; `n_symbols` is the size of the alphabet."""

    def __init__(self, order: int, n_symbols: int, texts: Iterable[Symbols]):
        self.order, self.n_symbols = order, n_symbols
        self.after: dict[Symbols, dict[Symbols, int]] = {}
        for text in texts:
            for length in range(order):
                for at in range(length, len(text)):
                    counts = self.after.setdefault(text[at - length : at], {})
                    symbol = text[at : at + 1]
                    counts[symbol] = counts.setdefault(symbol, 0) + 1
        self.total = {context: sum(counts.values()) for context, counts in self.after.items()}

    def probability(self, context: Symbols, symbol: Symbols) -> float:
        """Of the symbol behind the last `order - 1` of the context."""
        found = 1 / self.n_symbols
        for length in range(min(self.order - 1, len(context)) + 1):
            known = context[len(context) - length :]
            if known not in self.after:
                break
            counts = self.after[known]
            n_symbol = counts[symbol] if symbol in counts else 0
            found = (n_symbol + len(counts) * found) / (self.total[known] + len(counts))
        return found

    def nats(self, context: Symbols, text: Symbols) -> float:
        """Of a text behind a context: minus its log-probability."""
        return nats([(1.0, self)], context, text)

    def greedy(self, context: Symbols, n: int, end: Symbols) -> Symbols:
        """What most often followed the longest context that is known, again and again, up to `end`."""
        known = context
        while len(known) < len(context) + n:
            length = min(self.order - 1, len(known))
            while known[len(known) - length :] not in self.after:
                length -= 1
            counts = self.after[known[len(known) - length :]]
            symbol = max(counts, key=counts.__getitem__)  # of equals the first that was met
            if symbol == end:
                break
            known = known + symbol
        return known[len(context) :]


def nats(shares: Sequence[tuple[float, NGrams[Symbols]]], context: Symbols, text: Symbols) -> float:
    """Of a text behind a context, minus its log-probability by several models, each with its share of 1."""
    total, known = 0.0, context
    longest = max(model.order for _, model in shares)
    for at in range(len(text)):
        symbol = text[at : at + 1]
        total -= math.log(sum(share * model.probability(known, symbol) for share, model in shares))
        known = (known + symbol)[-longest:]
    return total
