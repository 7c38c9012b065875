"""What a private run has beside others: its secret, its examples, and what it says of its epsilon."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh, PartitionSpec

from gptjax.config import BadInput, Config
from gptjax.data.dialog_batches import DialogBatches
from gptjax.data.poisson import Dialogs, PoissonBatches, Windows
from gptjax.data.prepared import Prepared
from gptjax.privacy import accountant, secret
from gptjax.privacy.accountant import Accountant, Mechanism
from gptjax.training import sharding

OF_EXAMPLES = ("train/nll", "data/batch_crc")  # what tells of a step's examples more than its noisy gradient does


class Private(NamedTuple):
    """A private run's own: `step` says what one costs."""

    secret: str
    step: Mechanism
    batches: PoissonBatches

    def __repr__(self) -> str:  # a traceback may show it
        return f"Private({self.step})"

    def noise_key(self, on: Mesh) -> jax.Array:
        """The key of the noise, on every device."""
        key = secret.noise_key(self.secret)
        return jax.make_array_from_callback(key.shape, sharding.place(PartitionSpec(), on), lambda index: key[index])


def opened(cfg: Config, data: Prepared, drawn: Any, rows: list[int], key: str, before: dict | None) -> Private:
    """What a private run draws, and with how much noise: found for its epsilon, or as it was. `before` is what its
    checkpoint, or run.json, remembers. Raises BadInput."""
    (store,) = data.train.values()
    given = dict(context=cfg.model.context, end_of_text=data.tokenizer.end_of_text)
    examples = Windows(store, mask_documents=cfg.data.mask_documents, **given)
    if isinstance(drawn, DialogBatches):
        examples = Dialogs(drawn.packed[0], **given)
    most, p = cfg.privacy.max_batch, cfg.privacy
    found = PoissonBatches(examples, mean=cfg.mean_rows, most=most, key=secret.sampling_key(key), rows=rows)
    step = Mechanism(p.noise_multiplier, examples.n_examples, cfg.mean_rows, most)
    if p.epsilon:
        if before is not None and before["config"]["n_steps"] != cfg.n_steps:
            raise BadInput(
                f"n_steps={cfg.n_steps}: the noise of this run was found for {before['config']['n_steps']} steps; "
                "set n_steps back, or start a new run from its weights"
            )
        known = {} if before is None else before
        if "noise_multiplier" in known:  # not in run.json: a run that saved nothing yet finds it again
            noise = known["noise_multiplier"]
        else:
            noise = accountant.noise_for(p.epsilon, step, cfg.n_steps, p.delta)
        step = step._replace(noise_multiplier=noise)
    accountant.library()
    return Private(key, step, found)


def resolved(cfg: Config, step: Mechanism) -> Config:
    """The config with the noise that was found."""
    return dataclasses.replace(cfg, privacy=dataclasses.replace(cfg.privacy, noise_multiplier=step.noise_multiplier))


class Ledger:
    """What a run tells, and what it keeps to itself; of a run that is not private it tells all, and no epsilon."""

    def __init__(self, cfg: Config, private: Private | None):
        self.cfg, self.private, self.counted = cfg, private, None
        if private is not None:
            self.counted = Accountant(private.step, cfg.privacy.delta, cfg.n_steps, cfg.log_every)

    def begin(self, workdir: str, first_step: int) -> None:
        """Keeps the secret, and says what is promised."""
        if self.private is not None and self.counted is not None:
            secret.write(workdir, self.private.secret)
            print(said(self.cfg, self.private.step, self.counted, first_step), flush=True)

    def line(self, at: int, metrics: dict[str, float]) -> dict[str, float]:
        """The metrics that may be told after so many steps, and their epsilon."""
        if self.counted is None:
            return metrics
        told = {name: value for name, value in metrics.items() if name not in OF_EXAMPLES}
        return told | {"privacy/epsilon": self.counted.at_most(at)}

    @property
    def header(self) -> dict | None:
        """What run.json says of it."""
        if self.private is None:
            return None
        step = self.private.step
        return {**step._asdict(), "sampling_rate": step.rate, "overflow": step.overflow}

    def close(self) -> None:
        """Ends the thread that counts; nothing to do for a run that is not private."""
        if self.counted is not None:
            self.counted.close()


def said(cfg: Config, step: Mechanism, counted: Accountant, first_step: int) -> str:
    """The line that a private run begins with."""
    now = f"{counted.exactly(first_step):.3f} after {first_step:,} steps, " if first_step else ""
    return (
        f"private ({cfg.privacy.method}): epsilon {now}{counted.exactly(cfg.n_steps):.3f} after {cfg.n_steps:,} steps "
        f"at delta {cfg.privacy.delta:g}, for each of {step.n_examples:,} rows; noise multiplier "
        f"{step.noise_multiplier:g}, sampling rate {step.rate:.3g}, more than {step.most} rows with probability "
        f"{step.overflow:.1e}"
    )


def with_noise(update: Callable[..., Any], private: Private | None, on: Mesh) -> Callable[..., Any]:
    """The update as `update(state, batch)`, of a private run with the key of its noise."""
    if private is None:
        return update
    key = private.noise_key(on)
    return lambda state, batch: update(state, batch, key)
