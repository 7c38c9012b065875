"""The secret of a private run: who knows it can take the noise off its gradients, and knows who was in which batch.

It lies in RUN/privacy.key, readable by its owner alone, and nowhere else: not in run.json, the logs or checkpoints.
"""

import os
import stat

import numpy as np
from jaxtyping import UInt32

from gptjax.config import BadInput

NAME = "privacy.key"
NOISE_BYTES = 8  # a key of threefry, which draws the noise on the device
SAMPLING_BYTES = 32


def read(workdir: str) -> str | None:
    """The secret of a run in hexadecimal digits; None where there is none. Raises BadInput where others may have read
    it, or where it is not one."""
    path = where(workdir)
    if not os.path.lexists(path):
        return None
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise BadInput(f"{path}: is no file; move it away")
    if mode := stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise BadInput(f"{path}: others may read it (mode {mode:03o} beyond its owner's); chmod 600 {path}")
    with open(path, "rb") as file:
        found = file.read()
    if len(found) != NOISE_BYTES + SAMPLING_BYTES:
        raise BadInput(f"{path}: is damaged, {len(found)} bytes of {NOISE_BYTES + SAMPLING_BYTES}; restore it")
    return found.hex()


def opened(workdir: str, begun: bool) -> str:
    """The secret to go on with, or a new one, which `write` keeps. Raises BadInput for a run that has begun without."""
    if "://" in workdir:
        raise BadInput(
            f"--workdir={workdir}: a private run keeps a secret, for its owner alone; name a local directory"
        )
    found = read(workdir)
    if found is None and begun:
        raise BadInput(
            f"{where(workdir)}: is missing, and with other noise the steps already done would be told twice; "
            f"put it back, or start a new run with --config.init_from={workdir} --workdir=NEW"
        )
    return os.urandom(NOISE_BYTES + SAMPLING_BYTES).hex() if found is None else found


def write(workdir: str, secret: str) -> None:
    """Keeps the secret with mode 0600; does nothing where it is there."""
    if read(workdir) is not None:
        return
    os.makedirs(workdir, exist_ok=True)
    with open(os.open(where(workdir), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(bytes.fromhex(secret))
        file.flush()
        os.fsync(file.fileno())


def noise_key(secret: str) -> UInt32[np.ndarray, "2"]:
    """The key's two words, for jax.random.wrap_key_data (threefry): the noise is a function of it and the step."""
    return np.frombuffer(bytes.fromhex(secret)[:NOISE_BYTES], "<u4").astype(np.uint32)


def sampling_key(secret: str) -> bytes:
    """The 32 bytes that key who is drawn for which batch (data/poisson.py)."""
    return bytes.fromhex(secret)[NOISE_BYTES:]


def where(workdir: str) -> str:
    return os.path.join(workdir, NAME)
