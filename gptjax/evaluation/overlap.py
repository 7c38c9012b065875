"""BLEU and chrF by sacrebleu, ROUGE by rouge-score: their own numbers, with their signatures."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.config import BadInput
from gptjax.evaluation import scores
from gptjax.evaluation.accuracy import check
from gptjax.evaluation.scores import Measure

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
HOW = "pip install 'gptjax[metrics]'"


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """Corpus BLEU (Papineni et al. 2002) with sacrebleu's defaults, 0 to 100."""
    return of_sacrebleu("bleu", metrics("bleu").BLEU(), texts, references)


def chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """Corpus chrF2 (Popovic 2015) with sacrebleu's defaults, 0 to 100."""
    return of_sacrebleu("chrf", metrics("chrf").CHRF(), texts, references)


def metrics(metric: str) -> Any:  # sacrebleu's types are too loose to check against
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise BadInput(f"{metric}: needs sacrebleu; {HOW}") from error
    return sacrebleu.metrics


def of_sacrebleu(name: str, metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """The counts that sacrebleu sums over a corpus, and its function of the sums.

    Examples with fewer references than the most get None for the rest, as sacrebleu has it.
    """
    check(texts, references, name)
    most = max(map(len, references), default=0)
    streams = [[known[number] if number < len(known) else None for known in references] for number in range(most)]
    if not texts:
        return Measure(name, np.zeros((0, 1)), lambda _: 0.0, "")
    # What sacrebleu's own corpus_score and bootstrap are made of; it has no public name for the counts of chrF.
    stats_NK = np.array(metric._extract_corpus_statistics(list(texts), streams), np.float64)
    of_sums = lambda sums_K: metric._compute_score_from_stats(sums_K.astype(np.int64).tolist()).score
    signature = metric.get_signature() if most else ""
    metric.corpus_score(list(texts), streams)  # so that the signature knows the number of references
    return Measure(name, stats_NK, of_sums, str(metric.get_signature() or signature))


def rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Measure]:
    """The mean F1 of ROUGE-1, -2, -L and -Lsum (Lin 2004), 0 to 1; of several references the best counts.

    Words are stemmed (Porter); Lsum takes each line of a text for a sentence.
    """
    check(texts, references, "rouge")
    try:
        from rouge_score import rouge_scorer
    except ImportError as error:
        raise BadInput(f"rouge: needs rouge-score; {HOW}") from error
    scorer = rouge_scorer.RougeScorer(list(ROUGES), use_stemmer=True)
    found = [scorer.score_multi(list(known), text) for text, known in zip(texts, references, strict=True)]
    version = importlib.metadata.version("rouge-score")
    n_refs = "|".join(map(str, sorted({len(known) for known in references})))
    return {
        name: scores.mean(
            name,
            np.array([each[name].fmeasure for each in found], np.float64),
            f"{name}|f1|nrefs:{n_refs}|stem:porter|sentences:lines|version:{version}",
        )
        for name in ROUGES
    }
