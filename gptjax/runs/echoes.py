"""Copies of metrics.jsonl for those who watch runs elsewhere: TensorBoard, Weights & Biases, trackio."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from types import ModuleType

from gptjax.config import BadInput, LogConfig


class TensorBoard:
    """Event files in RUN/tensorboard/."""

    def __init__(self, workdir: str):
        import tensorboardX

        self.writer = tensorboardX.SummaryWriter(f"{workdir}/tensorboard")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


class Online:
    """A run of Weights & Biases or of trackio, which kept its functions."""

    def __init__(self, service: ModuleType, **settings):
        self.service = service
        service.init(resume="allow", **settings)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self.service.log(dict(metrics), step=step)

    def close(self) -> None:
        self.service.finish()


def check(cfg: LogConfig, workdir: str) -> None:
    """Raises BadInput where an echo that the config asks for cannot be: its package is missing, or a folder for it."""
    if cfg.tensorboard and "://" in workdir:
        raise BadInput(f"log.tensorboard=True needs a local --workdir, not {workdir}")
    for project, package, key in [
        (cfg.wandb_project, "wandb", "log.wandb_project"),
        (cfg.trackio_project, "trackio", "log.trackio_project"),
    ]:
        if project and package not in sys.modules and importlib.util.find_spec(package) is None:
            raise missing(package, key)


def make(cfg: LogConfig, workdir: str, header: Mapping) -> list[TensorBoard | Online]:
    """The echoes that the config asks for; `header` is run.json, whose `started` tells a run from its namesakes.

    Raises BadInput like `check`."""
    check(cfg, workdir)
    made: list[TensorBoard | Online] = [TensorBoard(workdir)] if cfg.tensorboard else []
    identity = re.sub(r"[^A-Za-z0-9-]", "-", f"{header['name']}-{header['started']}")
    if cfg.wandb_project:
        made.append(
            Online(
                installed("wandb", "log.wandb_project"),
                project=cfg.wandb_project,
                id=identity,
                name=header["name"],
                notes=header["note"],
                tags=list(header["tags"]),
                config=dict(header["config"]),
            )
        )
    if cfg.trackio_project:
        made.append(
            Online(
                installed("trackio", "log.trackio_project"),
                project=cfg.trackio_project,
                name=identity,
                config=dict(header["config"]),
            )
        )
    return made


def installed(package: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing(package, key) from error


def missing(package: str, key: str) -> BadInput:
    return BadInput(f"{key} needs the package {package}: pip install 'gptjax[{package}]'")
