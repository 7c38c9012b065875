"""The tokenizer of a config: made from its files or from the training text, or loaded from the folder it was saved in.

A tokenizer is a name and the few files that define it; `save` and `load` move those, so a worker process is told a
folder and nothing is pickled. What it encodes, it decodes to the same characters.
"""

import difflib
import functools
import json
import pathlib
from collections.abc import Callable, Iterable

from gptjax.config import BadInput, TokenizerConfig
from gptjax.data.alphabets import NAME_FILE, Bytes, Characters, Tokenizer, characters_of
from gptjax.data.subwords import ByteLevelBPE, SentencePiece, read_gpt2, read_sentencepiece, train_bpe

FROM_TEXT = ("characters", "bpe")  # are made from the training text; the others never read it
FROM_FILES: dict[str, Callable[[dict[str, bytes]], Tokenizer]] = {
    "bytes": Bytes,
    "characters": Characters,
    "gpt2": functools.partial(ByteLevelBPE, "gpt2"),
    "bpe": functools.partial(ByteLevelBPE, "bpe"),
    "sentencepiece": SentencePiece,
}


def make(cfg: TokenizerConfig, vocab_size: int, texts: Callable[[], Iterable[str]]) -> Tokenizer:
    """The tokenizer of a config; `texts` gives the training text, which only those in `FROM_TEXT` read.

    Those are read from `cfg.path` instead where it names the folder of one that a run saved, so that a run can start
    from the weights of one with other text. Raises BadInput where its vocabulary has not `vocab_size` entries, and
    where its files are missing or wrong.
    """
    makers: dict[str, Callable[[], Tokenizer]] = {
        "bytes": lambda: Bytes({}),
        "characters": lambda: characters_of(texts()),
        "gpt2": lambda: read_gpt2(cfg.path),
        "bpe": lambda: train_bpe(vocab_size, texts()),
        "sentencepiece": lambda: read_sentencepiece(cfg.path),
    }
    made = saved(cfg) if cfg.path and cfg.name in FROM_TEXT else makers[cfg.name]()
    if made.vocab_size != vocab_size:
        raise BadInput(
            f"model.vocab_size={vocab_size}, but the {cfg.name} tokenizer has {made.vocab_size} entries; "
            f"set model.vocab_size={made.vocab_size}"
        )
    return made


def saved(cfg: TokenizerConfig) -> Tokenizer:
    """The tokenizer in the folder that `cfg.path` names, which must be of the kind asked for."""
    try:
        found = load(pathlib.Path(cfg.path).expanduser())
    except BadInput as error:
        raise BadInput(f"tokenizer.path={cfg.path!r}: {error}; it is the folder `tokenizer` of a run") from error
    if found.name != cfg.name:
        raise BadInput(f"tokenizer.path={cfg.path!r}: holds a {found.name} tokenizer; set tokenizer.name={found.name}")
    return found


def load(folder: pathlib.Path) -> Tokenizer:
    """The tokenizer that `save` wrote there; raises BadInput where there is none, or it cannot be read."""
    if not (folder / NAME_FILE).is_file():
        raise BadInput(f"{folder}: no tokenizer there ({NAME_FILE} is missing)")
    name, fingerprint = saved_name(folder / NAME_FILE)
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.name != NAME_FILE}
    try:
        made = FROM_FILES[name](files)
    except Exception as error:  # the libraries each raise their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BadInput(f"{folder} is damaged: no {name} tokenizer ({reason})") from error
    if made.fingerprint != fingerprint:
        raise BadInput(f"{folder} is damaged: its files are not those of the {name} tokenizer that was saved there")
    return made


def saved_name(file: pathlib.Path) -> tuple[str, str]:
    """The name and the fingerprint of the tokenizer that was saved beside it."""
    try:
        saved = json.loads(file.read_bytes())
        name, fingerprint = saved["name"], saved["fingerprint"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} is damaged: it names no tokenizer") from error
    if name not in FROM_FILES:
        near = difflib.get_close_matches(str(name), FROM_FILES, n=1, cutoff=0.0)[0]
        raise BadInput(f"{file}: no tokenizer is called {name!r}; did you mean {near!r}?")
    return name, fingerprint
