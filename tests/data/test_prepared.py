import concurrent.futures
import dataclasses
import time

import pytest

from gptjax.config import BadInput
from gptjax.data import corpora, prepared, tokenizers
from tests.tiny import make_config


def test_of_several_processes_one_makes_the_tokenizer_and_the_others_wait(tmp_path, monkeypatch):
    """Threads, here: the lock belongs to whoever opened the file."""
    made = []

    def slowly(cfg, vocab_size, texts):
        made.append(time.sleep(0.3))
        return tokenizers.Bytes({})

    monkeypatch.setattr(tokenizers, "make", slowly)
    (tmp_path / "notes.txt").write_text("line of notes\n" * 500)
    corpus = corpora.open_corpus(f"text:{tmp_path}/*.txt", tmp_path)
    cfg = make_config("tokenizer.name=characters")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepared.make_tokenizer(cfg, [corpus], tmp_path), range(4)))
    assert len(made) == 1 and {tokenizer.name for tokenizer in found} == {"bytes"}


@pytest.mark.parametrize("name", ["characters", "bpe"])
def test_the_tokenizer_of_another_run_serves_other_text(name, tmp_path):
    cfg = make_config("model.vocab_size=300", f"tokenizer.name={name}", f"tokenizer.path={tmp_path}/tokenizer")
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 283)))  # beside 17 entries that every such tokenizer has
    given = tokenizers.make(dataclasses.replace(cfg.tokenizer, path=""), 300, lambda: [letters * 2])
    given.save(tmp_path / "tokenizer")
    (tmp_path / "notes.txt").write_text("line of notes\n" * 500)
    corpus = corpora.open_corpus(f"text:{tmp_path}/*.txt", tmp_path)
    found = prepared.make_tokenizer(cfg, [corpus], tmp_path)
    assert found.fingerprint == given.fingerprint and not (tmp_path / "tokenizers").exists()
    with pytest.raises(BadInput, match=f"holds a {name} tokenizer; set tokenizer.name={name}"):
        other = dataclasses.replace(cfg.tokenizer, name="bpe" if name == "characters" else "characters")
        prepared.make_tokenizer(dataclasses.replace(cfg, tokenizer=other), [corpus], tmp_path)
