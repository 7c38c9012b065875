"""Run as a program (`python -m tests.reliability.audited RUN CACHE MODEL SCRATCH`): reads every kind of file that
gptjax reads, with a pickle planted in its place, and says as JSON what the interpreter was asked to execute meanwhile.
"""

import ast
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable

import pyarrow
import pyarrow.parquet

from gptjax import config, mesh
from gptjax.analysis import frames, logs
from gptjax.analysis.foreign import formats
from gptjax.commands import opening
from gptjax.config import BadInput, Config
from gptjax.data import tokenizers
from gptjax.data.corpora import open_corpus
from gptjax.data.dialogs import open_dialogs
from gptjax.data.preferences import Preferences
from gptjax.data.store import open_store
from gptjax.privacy import canaries
from gptjax.runs.log import read_header
from gptjax.training import checkpoint, source, step
from gptjax.training.lock import RunLock

EXECUTING = (
    "pickle.find_class", "marshal.load", "marshal.loads", "exec", "compile", "code.__new__", "function.__new__",
    "ctypes.dlopen", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect",
)  # fmt: skip


GROUPS = {
    "the record of a run": r"/run/[^/]*\.json$",
    "metrics and samples": r"/run/[^/]*\.jsonl",
    "a tokenizer's name": r"/tokenizer_name\.json",
    "what a checkpoint says of itself": r"/checkpoints/.*(meta/|metrics/|_METADATA)",
    "what a checkpoint says of its arrays": r"/checkpoints/.*/state/(_METADATA|_sharding|array_metadatas/)",
    "a checkpoint's index": r"/checkpoints/.*\.ocdbt$",
    "a checkpoint's arrays": r"/checkpoints/.*/d/",
    "marks of a whole checkpoint": r"/checkpoints/.*(_CHECKPOINT_METADATA|commit_success)",
    "shards": r"/tokens/.*/tokens-\d+\.bin",
    "sums of shards": r"/tokens/.*/checks\.bin",
    "manifests of shards": r"/tokens/.*/manifest\.json",
    "the shape of a model folder": r"/model/config\.json",
    "a model folder's tokenizers": r"/model/.*tokenizer[^/]*\.json",
    "a model folder's weights": r"/model/.*\.safetensors",
    "what analysis keeps of a log": r"/kept/",
}


def pickled(mark: pathlib.Path) -> bytes:
    """A pickle that makes a file when it is loaded; it is text too, as protocol 0 is."""
    return f"c__builtin__\nexec\n(S\"open('{mark}', 'w').close()\"\ntR.".encode()


class Listener:
    """What was executed while it listened. Importing an installed module compiles and executes it, and is left out."""

    def __init__(self):
        self.heard: list[str] = []
        self.on = False
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple) -> None:
        if self.on and event in EXECUTING and not importing() and not of_the_library():
            self.heard.append(f"{event} {str(args)[:200]} in {caller()}")


def caller() -> str:
    """The functions that were running, the innermost first."""
    frame, names = sys._getframe(2), []
    while frame is not None and len(names) < 6:
        names.append(f"{pathlib.Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(names)


def of_the_library() -> bool:
    """Flax makes its layers' classes when they are used, and dataclasses.py writes their methods as text; ast.py parses
    (for the carets of a traceback, for one) and executes nothing."""
    return sys._getframe(2).f_code.co_filename in (dataclasses.__file__, ast.__file__)


def importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def read_all(scratch: pathlib.Path, cfg: Config) -> int:
    """Every load path, each to its end or to its refusal; returns how many were refused."""
    on = mesh.make(cfg.mesh)
    run, cache, texts = (scratch / name for name in ("run", "cache", "texts"))

    def whole_state() -> None:
        keep = checkpoint.Checkpoints(str(run / "checkpoints"), keep_last=9, keep_every=0)
        try:
            keep.restore(step.abstract_state(cfg, on), max(checkpoint.steps(keep.folder)))
        finally:
            keep.close()

    def opened() -> None:
        with contextlib.closing(RunLock(str(run))) as lock:
            opening.open_run(cfg, lock, False)

    paths: list[Callable[[], object]] = [
        lambda: config.from_dict(json.loads((run / "run.json").read_bytes())["config"]),
        lambda: read_header(str(run)),
        lambda: source.open_run(str(run)),
        lambda: source.open_run(str(scratch / "model")),
        lambda: tokenizers.load(run / "tokenizer"),
        opened,
        whole_state,
        *(lambda folder=folder: open_store(folder).read(0, 10**9) for folder in (cache / "tokens").iterdir()),
        *(lambda file=file: list(open_corpus(f"text:{file}").documents("train")) for file in texts.iterdir()),
        *(lambda kind=kind: made(kind, texts, cfg) for kind in ("gpt2", "sentencepiece")),
        lambda: list(open_corpus(f"splits:{scratch}/splits").documents("train")),
        lambda: list(open_dialogs(f"dialogs:{texts}/b.jsonl", None).examples("train")),
        lambda: list(Preferences(f"preferences:{texts}/b.jsonl", None).pairs("train")),
        lambda: canaries.read(str(texts / "a.txt")),
        lambda: frames.read([str(run)]),
        *(lambda kind=kind: formats.read([str(scratch / "logs/log")], kind) for kind in formats.KINDS),
    ]
    n_refused = 0
    for path in paths:
        try:
            path()
        except (BadInput, ValueError):
            n_refused += 1
    return n_refused


def made(kind: str, texts: pathlib.Path, cfg: Config) -> object:
    where = {"gpt2": texts.parent / "gpt2", "sentencepiece": texts / "a.txt"}[kind]
    return tokenizers.make(dataclasses.replace(cfg.tokenizer, name=kind, path=str(where)), 256, lambda: [])


def plant(folders: list[pathlib.Path], names: str, evil: bytes) -> int:
    """Makes pickles of the files whose paths have these names; returns how many."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    chosen = [file for file in files if re.search(names, file.as_posix())]
    for file in chosen:
        file.write_bytes(evil)
    return len(chosen)


def write_texts(scratch: pathlib.Path, evil: bytes) -> None:
    """Files that are pickles from the beginning."""
    texts = scratch / "texts"
    names = ["texts/a.txt", "texts/b.jsonl", "texts/c.parquet", "gpt2/vocab.json", "gpt2/merges.txt", "logs/log"]
    for name in [*names, "splits/train.jsonl", "splits/valid.jsonl"]:
        (scratch / name).parent.mkdir(exist_ok=True)
        (scratch / name).write_bytes(evil)
    hidden = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": evil}
    field = pyarrow.field("text", pyarrow.binary(), metadata=hidden)
    pyarrow.parquet.write_table(pyarrow.table([[b"x"]], schema=pyarrow.schema([field])), texts / "d.parquet")


def main(given_run: str, given_cache: str, given_model: str, given_scratch: str) -> None:
    scratch = pathlib.Path(given_scratch)
    copied = {scratch / "run": given_run, scratch / "cache": given_cache, scratch / "model": given_model}
    for copy, given in copied.items():
        shutil.copytree(given, copy)
    mark, cache = scratch / "executed", scratch / "cache"
    evil = pickled(mark)
    write_texts(scratch, evil)
    os.environ["XDG_CACHE_HOME"], logs.SMALL = str(scratch / "kept"), 0  # of logs, however short, something is kept
    cfg = config.from_dict(json.loads((scratch / "run/run.json").read_bytes())["config"])
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, cache=str(cache)))

    listener, read = Listener(), {}
    clean = read_all(scratch, cfg)  # imports what is imported late
    for group, pattern in GROUPS.items():
        for copy, given in copied.items():
            shutil.rmtree(copy)
            shutil.copytree(given, copy)
        planted = plant([*copied, scratch / "kept"], pattern, evil)
        listener.on = True
        read[group] = [planted, read_all(scratch, cfg) - clean]
        listener.on = False
    found, listener.heard, listener.on = listener.heard, [], True
    executed = mark.exists()
    sys.modules["pickle"].loads(evil)  # the control: a listener that hears nothing would prove nothing
    said = {"clean": clean, "read": read, "found": found, "executed": executed, "control": listener.heard}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
