"""From a config to token stores: the corpora opened, the tokenizer made or found, the text tokenised once."""

import fcntl
import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gptjax.config import BadInput, Config
from gptjax.data import corpora, dialogs, shards, tokenizers
from gptjax.data.corpora import Corpus
from gptjax.data.examples import Marked
from gptjax.data.preferences import Preferences
from gptjax.data.store import FORMAT, Store
from gptjax.data.templates import TEMPLATE
from gptjax.data.tokenizers import Tokenizer


class Prepared(NamedTuple):
    """What a run reads: stores of tokens by corpus, and what made the tokens."""

    tokenizer: Tokenizer
    train: dict[str, Store]  # by corpus
    valid: dict[str, Store]
    provenance: dict[str, dict]  # what each corpus says of itself
    chat: dict[str, str]  # the chat template of dialogs; {} for the plain form, and for text

    @property
    def fingerprints(self) -> dict:
        """What a checkpoint must agree with: the tokenizer and every store, by hash."""
        stores = {
            f"{name}/{split}": store.manifest
            for split in ("train", "valid")
            for name, store in getattr(self, split).items()
        }
        return {
            "tokenizer": self.tokenizer.fingerprint,
            "data": {name: [shard["sha256"] for shard in manifest["shards"]] for name, manifest in stores.items()},
        }


def prepare(cfg: Config) -> Prepared:
    """Opens, or makes and caches under `cfg.data.cache`, all that training reads. Raises BadInput."""
    cache = pathlib.Path(cfg.data.cache).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"data.cache={cfg.data.cache}: {error.strerror}; name a directory that can be written"
        ) from error
    chat, opened = read_template(cfg), {spec: opener(cfg)(spec, cache) for spec in cfg.data.corpora}
    tokenizer = make_tokenizer(cfg, list(opened.values()), cache)
    of_store = Marked(tokenizer, chat) if cfg.data.dialogs else tokenizer
    stores = {
        split: {spec: shards.build(corpus, split, of_store, cache / "tokens") for spec, corpus in opened.items()}
        for split in ("train", "valid")
    }
    provenance = {spec: corpus.provenance for spec, corpus in opened.items()}
    return Prepared(tokenizer, **stores, provenance=provenance, chat=chat)


def opener(cfg: Config) -> Callable[[str, pathlib.Path], Corpus]:
    """What opens an entry of `data.corpora`."""
    if cfg.data.preferences:
        return Preferences
    return dialogs.open_dialogs if cfg.data.dialogs else corpora.open_corpus


def read_template(cfg: Config) -> dict[str, str]:
    """What `data.chat_template` names, as a run keeps it; {} where it names nothing."""
    if not cfg.data.chat_template:
        return {}
    try:
        return {TEMPLATE: pathlib.Path(cfg.data.chat_template).expanduser().read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"data.chat_template={cfg.data.chat_template}: cannot be read ({error})") from error


def tokenizer_of_origin(cfg: Config) -> str | None:
    """Where `init_from`, a folder or a run, keeps GPT-2's kind of tokenizer, if that is not what the config names."""
    for folder in (
        (cfg.init_from, f"{cfg.init_from}/tokenizer") if cfg.init_from and cfg.tokenizer.name == "gpt2" else ()
    ):
        if pathlib.Path(folder, "tokenizer.json").is_file() or pathlib.Path(folder, "vocab.json").is_file():
            return None if folder == cfg.tokenizer.path else folder
    return None


def make_tokenizer(cfg: Config, opened: list[Corpus], cache: pathlib.Path) -> Tokenizer:
    """The tokenizer of the config; one that is made from the text is kept, by the hash of that text."""

    def texts() -> Iterator[str]:
        for corpus in opened:
            yield from dialogs.texts(corpus)

    if cfg.tokenizer.name not in tokenizers.FROM_TEXT or cfg.tokenizer.path:
        try:
            return tokenizers.make(cfg.tokenizer, cfg.model.vocab_size, texts)
        except BadInput as error:
            if near := tokenizer_of_origin(cfg):
                raise BadInput(f"{error}; init_from has one: tokenizer.path={near}") from error
            raise
    key = [
        str(FORMAT),
        cfg.tokenizer.name,
        str(cfg.model.vocab_size),
        *(corpus.fingerprint("train") for corpus in opened),
    ]
    folder = cache / "tokenizers" / hashlib.sha256("\n".join(key).encode()).hexdigest()[:32]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:  # of several processes one makes it and the others wait
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                tokenizers.make(cfg.tokenizer, cfg.model.vocab_size, texts).save(folder)
    return tokenizers.load(folder)
