"""Early stopping (Prechelt 1998, section 3.2): a run ends once its metric has not been better for some evaluations.

What is remembered lies in every checkpoint's meta, as numbers that JSON gives back to the last bit, so a run that was
interrupted decides as one that was not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gptjax.config import Config

KEY = "best"  # in a checkpoint's meta
HIGHER = ("eval/dpo_accuracy", "eval/dpo_margin")  # are better; of all others what is lower


class Best(NamedTuple):
    """What a run remembers of its evaluations."""

    metric: str
    value: float
    step: int  # of the best evaluation
    waited: int  # evaluations since, none of them better
    last: int  # step of the latest evaluation


def saved(meta: Mapping[str, Any] | None) -> Best | None:
    """What a checkpoint's meta holds; None where its run had no patience, or no evaluation yet."""
    return Best(**meta[KEY]) if meta is not None and KEY in meta else None


def is_over(best: Best | None, cfg: Config) -> bool:
    """Whether `stop_patience` evaluations in a row were no better; False where it is 0, or nothing was evaluated."""
    return best is not None and 0 < cfg.stop_patience <= best.waited


def why(best: Best) -> str:
    """Why a run that `is_over` ended, as the command prints it."""
    return (
        f"{best.metric} has not been better than {best.value:.4f}, of step {best.step:,}, in {best.waited} evaluations"
    )


class Patience:
    """Looks at every evaluation of a run; does nothing where `stop_patience` is 0."""

    def __init__(self, cfg: Config, meta: Mapping[str, Any] | None):
        self.cfg = cfg
        self.go_back(meta)

    def go_back(self, meta: Mapping[str, Any] | None) -> None:
        """Remembers what a checkpoint does; nothing of evaluations after it. None: of the start."""
        self.best = saved(meta) if self.cfg.stop_patience else None

    @property
    def over(self) -> bool:
        """Whether the run ends now."""
        return is_over(self.best, self.cfg)

    @property
    def meta(self) -> dict[str, Any]:
        """What a checkpoint is to hold."""
        return {KEY: self.best._asdict()} if self.best else {}

    def missed(self, step: int) -> bool:
        """Whether the evaluation of a step is due and was not made: a signal ended the process just before it."""
        due = self.cfg.stop_patience > 0 and step > 0 and self.cfg.eval_every > 0 and step % self.cfg.eval_every == 0
        return due and (self.best is None or self.best.last < step)

    def judge(self, step: int, found: Mapping[str, float]) -> bool:
        """Takes note of an evaluation; whether it is the best so far, and so to be saved."""
        if not self.cfg.stop_patience:
            return False
        metric, old = self.cfg.stop_metric, self.best
        value = found[metric]
        better = old is None or (value > old.value if metric in HIGHER else value < old.value)
        if old is None or better:
            self.best = Best(metric, value, step, 0, step)
        else:
            self.best = old._replace(waited=old.waited + 1, last=step)
        return better


class Kept:
    """The policy, for Orbax, of keeping the best evaluation's checkpoint."""

    def __init__(self, patience: Patience):
        self.patience = patience

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        best = self.patience.best
        return [best is not None and one.step == best.step for one in checkpoints]
