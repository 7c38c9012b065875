import concurrent.futures
import time

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
