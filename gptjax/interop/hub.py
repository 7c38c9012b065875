"""Names of models on the Hugging Face hub, fetched into its cache; folders are left where they are."""

import importlib
import pathlib
import re

from gptjax.config import BadInput

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # user/model, or one of the few old names without a user
WANTED = ("*.json", "*.txt", "*.safetensors")  # weights, config and tokenizer; no pickle is fetched


def folder_of(name: str) -> pathlib.Path:
    """The folder itself, or the one that the hub's model of that name was downloaded to. Raises BadInput."""
    if pathlib.Path(name).is_dir():
        return pathlib.Path(name)
    if not NAME.fullmatch(name):
        raise BadInput(f"{name}: is neither a folder here nor the name of a model on the hub, user/model")
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise BadInput(f"{name}: no such folder; names of the hub need pip install 'gptjax[hub]'") from error
    try:
        return pathlib.Path(hub.snapshot_download(name, allow_patterns=list(WANTED)))
    except Exception as error:  # of the hub's client and of the network, in many types
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{name}: no such folder, and the hub did not give it ({reason})") from error


def revision_of(folder: pathlib.Path) -> str | None:
    """The commit of a folder in the hub's cache; None for others."""
    return folder.name if folder.parent.name == "snapshots" else None
