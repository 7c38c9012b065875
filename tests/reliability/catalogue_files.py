"""The part of the catalogue that is about files: configs, texts, tokenizers, runs, and what a launcher sets."""

import hashlib

from tests.reliability.catalogue import Case, Link

HOSTS = {"GPTJAX_NUM_PROCESSES": "2", "GPTJAX_PROCESS_ID": "0", "GPTJAX_COORDINATOR": "127.0.0.1:8476"}
LINE = "a line of notes\n"
SIGNS = "".join(map(chr, range(0x4E00, 0x4E00 + 238))) + "\n"  # with 17 entries more, a tokenizer of 256
NOTES = LINE * 500  # enough text for a context of 64 in both splits
UNKNOWN, CHARACTERS, BPE = (f'{{"name": "{name}", "fingerprint": ""}}' for name in ("byte", "characters", "bpe"))
BYTES = f'{{"name": "bytes", "fingerprint": "{hashlib.sha256(b"bytes").hexdigest()}"}}'
BASE = "from configs import base\ndef get_config():\n    c = base.get_config()\n    "


ASKED = '{"prompt": "a", "answer": "b"}\n'
LONG = f'{{"prompt": "a", "answer": "{"b" * 300}"}}\n' * 9
CHAT = "--config.data.chat_template={{tmp}}/{}"


def config_file(name: str, content: str | bytes | None | Link, says: str) -> Case:
    return Case(f"a config that {name}", "train --config={tmp}/c.py --workdir={tmp}/new", says, {"c.py": content})


def text(name: str, file: str, content: str | bytes | None | Link, says: str, spec: str = "") -> Case:
    corpus = f"text:{{tmp}}/{spec or file}"
    return Case(f"a text {name}", f"{{train}} '--config.data.corpora={corpus}'", says, {file: content})


def tokenizer(name: str, kind: str, files: dict, says: str) -> Case:
    flags = f"--config.tokenizer.name={kind} --config.tokenizer.path={{tmp}}/t"
    return Case(f"a tokenizer {name}", f"{{train}} {flags}", says, files)


def run(name: str, files: dict, says: str, words: str = "{train} --workdir={run}") -> Case:
    return Case(f"a run {name}", words, says, {f"run/{file}": content for file, content in files.items()})


def resumed(override: str, says: str) -> Case:
    return Case(f"a run with another {override}", f"{{train}} --workdir={{run}} --config.{override}", says)


def generated(name: str, files: dict, says: str) -> Case:
    return run(name, files, says, "generate --from={run} --prompt=a")


def launched(name: str, env: dict[str, str], says: str) -> Case:
    return Case(f"a launch {name}", "{train}", says, env=env)


def dialogs(name: str, content: str | bytes | None | Link, says: str, flags: str = "", spec: str = "a.jsonl") -> Case:
    words = f"{{train}} '--config.data.corpora=dialogs:{{tmp}}/{spec}' {flags}"
    return Case(f"dialogs {name}", words, says, {spec.partition(":")[0]: content})


CASES = [
    config_file("is not there", None, "no such file"),
    Case(
        "a config's near miss", "train --config=configs/smok.py --workdir={tmp}/new", "did you mean configs/smoke.py?"
    ),
    Case("a config that is a folder", "train --config=configs --workdir={tmp}/new", "--config=configs: is a folder"),
    Case("an empty name of a config", "train --config= --workdir={tmp}/new", "--config"),
    Case(
        "a config in YAML", "train --config={tmp}/c.yaml --workdir={tmp}/new", "not a Python file", {"c.yaml": "a: 1"}
    ),
    config_file("does not parse", "def get_config(:\n", "--config={tmp}/c.py: SyntaxError"),
    config_file("is empty", "", "--config={tmp}/c.py: has no get_config()"),
    config_file("is no UTF-8", b"x = '\xff'\n", "--config={tmp}/c.py: SyntaxError"),
    config_file("holds a NUL", b"x = 1\0\n", "--config={tmp}/c.py: "),
    config_file("raises", "def get_config():\n    raise OSError('two\\nlines')\n", "OSError: two lines"),
    config_file("exits", "import sys\nsys.exit(0)\n", "--config={tmp}/c.py: SystemExit"),
    config_file("never ends", "def get_config():\n    return get_config()\n", "RecursionError"),
    config_file("returns nothing", "def get_config():\n    pass\n", "--config={tmp}/c.py: get_config() returned None"),
    config_file("imports what is not there", "import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
    config_file("sets a key that is not there", BASE + "c.n_step = 3\n    return c\n", "n_step"),
    config_file("sets a key to another type", BASE + "c.n_steps = 'ten'\n    return c\n", "n_steps"),
    config_file("sets a key to nothing", BASE + "c.n_steps = None\n    return c\n", "n_steps=None: expected int"),
    config_file("lacks a section", BASE + "c.unlock()\n    del c.optim\n    return c\n", "the config lacks optim"),
    config_file(
        "makes a section a number",
        BASE + "c.unlock()\n    del c.optim\n    c.optim = 3\n    return c\n",
        "optim is a section, not 3",
    ),
    config_file(
        "lacks a key",
        BASE + "c.unlock()\n    del c.optim.b2\n    return c\n",
        "the config lacks optim.b2; configs/base.py",
    ),
    config_file("adds a key", BASE + "c.unlock()\n    c.lr = 3\n    return c\n", "config has no key lr"),
    text("that is not there", "a.txt", None, "matches no file"),
    text("whose name is nearly there", "notes.txt", NOTES, "did you mean {tmp}/notes.txt?", "note.txt"),
    text("that is a folder of other files", "d/a.csv", NOTES, "nothing in that folder is a .txt, .md, .py, ", "d"),
    text("named with braces", "a.txt", NOTES, "braces stand for nothing here: name a folder", "{{*.txt}}"),
    text("that is empty", "a.txt", "", "{tmp}/a.txt: empty"),
    text("of one byte", "a.txt", "a", "its valid split is empty"),
    text("shorter than the context", "a.txt", "ab\n" * 20, "model.context=64, but the train split"),
    text("in Latin-1", "a.txt", NOTES.encode() + b"caf\xe9\n" + NOTES.encode(), "{tmp}/a.txt: not UTF-8 at byte 8003"),
    text("in UTF-16", "a.txt", NOTES.encode("utf-16"), "{tmp}/a.txt: UTF-16; save it as UTF-8"),
    text(
        "that is cut in a character", "a.txt", NOTES.encode() + "é".encode()[:1], "{tmp}/a.txt: not UTF-8 at byte 8000"
    ),
    text("with a NUL", "a.txt", NOTES + "\0" + NOTES, "{tmp}/a.txt: U+0000 at byte 8000"),
    text("in a PDF", "a.pdf", b"%PDF-1.7", "gptjax reads .txt, .md, .py, .jsonl, .parquet, not .pdf"),
    text("that is a device", "a.txt", Link("/dev/null"), "matches no file"),
    text("that links to itself", "a.txt", Link("a.txt"), "matches no file"),
    text("with a field", "a.txt", NOTES, "has no field 'body'", "a.txt:body"),
    text("of rows that are no JSON", "a.jsonl", '{"text": "a"}\n{"text"\n', "{tmp}/a.jsonl, line 2: not JSON"),
    text("of rows without the field", "a.jsonl", '{"body": "a"}\n', "no field 'text'; it has body"),
    text("of rows that are lists", "a.jsonl", "[1]\n", "no field 'text'; it is no object"),
    text("of rows of numbers", "a.jsonl", '{"text": 3}\n', "the field 'text' is int, not text"),
    text("of rows that nest without end", "a.jsonl", "[" * 200_000, "{tmp}/a.jsonl, line 1: not JSON"),
    text("of rows with half a character", "a.jsonl", '{"text": "\\ud800"}\n', "half of a surrogate pair"),
    text("of rows that are all empty", "a.jsonl", '{"text": ""}\n' * 9, "its train split is empty"),
    text("of rows in Latin-1", "a.jsonl", b'{"text": "caf\xe9"}\n', "{tmp}/a.jsonl, line 1: not JSON"),
    text("that is no Parquet", "a.parquet", "PAR1", "{tmp}/a.parquet: not Parquet"),
    dialogs("that are not there", None, "matches no file"),
    dialogs("without a pattern", None, "names no examples", "--config.data.corpora=dialogs:"),
    dialogs("that are empty", "", "its train split is empty"),
    dialogs("that are one", ASKED, "its train split is empty"),
    dialogs("in a text file", ASKED, "dialogs are read from .jsonl files, not .txt", spec="a.txt"),
    dialogs("of lines that are no JSON", "{", "{tmp}/a.jsonl, line 1: not JSON"),
    dialogs("without answers", '{"prompt": "a"}\n', "no field 'answer', nor 'messages'; it has prompt"),
    dialogs("with empty answers", '{"prompt": "a", "answer": ""}\n', "line 1: no answer"),
    dialogs("with other fields", ASKED, "no field 'q'; it has prompt, answer", spec="a.jsonl:q:a"),
    dialogs("of a stranger", '{"messages": [{"role": "bot", "content": "a"}]}\n', "the role 'bot'"),
    dialogs("whose messages are text", '{"messages": "a"}\n', "'messages' must be a list of objects"),
    dialogs("with a NUL", '{"prompt": "a", "answer": "\\u0000b"}\n', "U+0000 in a message"),
    dialogs("longer than the context", LONG, "model.context=64, but no dialog of"),
    dialogs("refused for their length", LONG, "try model.context=321", "--config.data.too_long=refuse"),
    dialogs("that see each other", ASKED * 9, "set it to true", "--config.data.mask_documents=false"),
    dialogs("with a template that is not there", ASKED * 9, "cannot be read", CHAT.format("b.jinja")),
    Case(
        "dialogs with a template that is no Jinja",
        "{train} --config.data.corpora=dialogs:{tmp}/a.jsonl --config.data.chat_template={tmp}/c.jinja",
        "is no Jinja template",
        {"a.jsonl": ASKED * 9, "c.jinja": "{% for %}"},
    ),
    dialogs("filled in another way", ASKED * 9, "did you mean 'budget'?", "--config.data.fill=budgets"),
    dialogs("cut in another way", ASKED * 9, "did you mean 'cut_answer'?", "--config.data.too_long=cut_answers"),
    dialogs("of a function that is not there", "", "has no function f", spec="a.py:f"),
    dialogs("of a function that fails", "def f(split):\n    1 / 0\n", "ZeroDivisionError", spec="a.py:f"),
    Case(
        "dialogs beside text",
        "{train} --config.data.corpora=python,dialogs:a --config.data.weights=1,1",
        "leave it out",
    ),
    Case("a template for text", "{train} --config.data.chat_template=a", "data.chat_template=a: is for"),
    Case(
        "dialogs of a TFDS set without fields", "{train} --config.data.corpora=dialogs:tfds:samsum", "say which fields"
    ),
    tokenizer("that is not there", "gpt2", {}, "no GPT-2 tokenizer there"),
    tokenizer("without its merges", "gpt2", {"t/vocab.json": "{}"}, "no GPT-2 tokenizer there"),
    tokenizer("that is garbage", "gpt2", {"t/vocab.json": "{", "t/merges.txt": ""}, "not GPT-2's files"),
    tokenizer(
        "without an end of text", "gpt2", {"t/vocab.json": '{"a": 0}', "t/merges.txt": ""}, "the vocabulary lacks"
    ),
    tokenizer("of another kind", "gpt2", {"t/tokenizer.json": '{"model": {"type": "WordPiece"}}'}, "not GPT-2's files"),
    tokenizer("that no run saved", "bpe", {"t/tokenizer.json": "{}"}, "is the folder `tokenizer` of a run"),
    tokenizer("of another kind of run", "bpe", {"t/tokenizer_name.json": BYTES}, "set tokenizer.name=bytes"),
    tokenizer("that is no SentencePiece model", "sentencepiece", {"t": b"\0\1\2"}, "not a SentencePiece model"),
    tokenizer("that is an empty file", "sentencepiece", {"t": b""}, "tokenizer.path='{tmp}/t'"),
    Case(
        "a BPE of fewer entries than bytes",
        "{train} --config.tokenizer.name=bpe --config.model.vocab_size=100",
        "model.vocab_size=100, but the bpe tokenizer has 257 entries; set model.vocab_size=257",
    ),
    Case(
        "characters of another number",
        "{train} --config.tokenizer.name=characters",
        "but the characters tokenizer has",
    ),
    resumed("model.n_layers=3", "model.n_layers was 2, is now 3; model, tokenizer, data and seed never change"),
    resumed("seed=1", "seed was 0, is now 1"),
    resumed("optim.peak_lr=0.5", "changing the optimizer within a run needs --change_optimizer"),
    resumed("data.corpora=python", "data.corpora was ['synthetic'], is now ['python']"),
    resumed("batch_tokens=1024", "batch_tokens was 512, is now 1024"),
    run("whose record is empty", {"run.json": ""}, "{run}/run.json is damaged"),
    run("whose record is cut", {"run.json": '{"started": "2026'}, "{run}/run.json is damaged"),
    run("whose record is a list", {"run.json": "[]"}, "{run}/run.json is damaged"),
    run("whose record is another program's", {"run.json": '{"config": {}}'}, "{run}/run.json is damaged"),
    run("whose record is no UTF-8", {"run.json": b"\xff\xfe"}, "{run}/run.json is damaged"),
    run("whose record nests without end", {"run.json": "[" * 200_000}, "{run}/run.json is damaged"),
    run("whose record is a folder", {"run.json": None, "run.json/x": ""}, "{run}/run.json: is a folder; move it away"),
    run(
        "whose metrics are a folder", {"metrics.jsonl": None, "metrics.jsonl/x": ""}, "{run}/metrics.jsonl: is a folder"
    ),
    run("whose record is a link", {"run.json": Link("/etc/passwd")}, "{run}/run.json: is a symbolic link"),
    run("whose metrics are a link", {"metrics.jsonl": Link("../../x")}, "{run}/metrics.jsonl: is a symbolic link"),
    run("whose checkpoints are a file", {"checkpoints": ""}, "{run}/checkpoints: is no folder"),
    run(
        "without the checkpoint that is named",
        {},
        "the run has no checkpoint 5; it has",
        "generate --from={run}/checkpoints/5 --prompt=a",
    ),
    generated("without checkpoints", {"checkpoints": None}, "{run}: has no checkpoint yet"),
    generated("without a tokenizer", {"tokenizer": None}, "{run}/tokenizer: "),
    generated("whose tokenizer has no name", {"tokenizer/tokenizer_name.json": None}, "{run}/tokenizer: "),
    generated("whose tokenizer is garbage", {"tokenizer/tokenizer_name.json": "{"}, "tokenizer_name.json is damaged"),
    generated("whose tokenizer lacks its file", {"tokenizer/tokenizer_name.json": BPE}, "no bpe tokenizer"),
    generated("whose tokenizer is unknown", {"tokenizer/tokenizer_name.json": UNKNOWN}, "did you mean 'bytes'?"),
    generated("whose tokenizer is another", {"tokenizer/tokenizer_name.json": CHARACTERS}, "{run}/tokenizer: "),
    Case(
        "a start from another model",
        "{train} --config.init_from={run} --config.model.n_layers=3",
        "model.n_layers is 2",
    ),
    Case(
        "a start from another tokenizer of the same size",
        "{train} --config.init_from={run} --config.tokenizer.name=characters --config.data.corpora=text:{tmp}/a.txt",
        "init_from={run}: its tokenizer is not this run's; set tokenizer.name=bytes",
        {"a.txt": SIGNS * 20},
    ),
    Case(
        "a start from no checkpoint",
        "{train} --config.init_from={run}",
        "{run}: has no checkpoint yet",
        {"run/checkpoints": None},
    ),
    launched("of no processes", HOSTS | {"GPTJAX_NUM_PROCESSES": "0"}, "GPTJAX_NUM_PROCESSES=0: must be"),
    launched("of two and a half processes", HOSTS | {"GPTJAX_NUM_PROCESSES": "2.5"}, "GPTJAX_NUM_PROCESSES=2.5"),
    launched("of many processes", HOSTS | {"GPTJAX_NUM_PROCESSES": "²"}, "GPTJAX_NUM_PROCESSES=²"),
    launched("of a process too many", HOSTS | {"GPTJAX_PROCESS_ID": "2"}, "GPTJAX_PROCESS_ID=2: must be below"),
    launched("of process -1", HOSTS | {"GPTJAX_PROCESS_ID": "-1"}, "GPTJAX_PROCESS_ID=-1"),
    launched("without a number", {"GPTJAX_NUM_PROCESSES": "2"}, "GPTJAX_PROCESS_ID is not set"),
    launched("without a port", HOSTS | {"GPTJAX_COORDINATOR": "127.0.0.1"}, "must be host:port"),
    launched("at a port of words", HOSTS | {"GPTJAX_COORDINATOR": "127.0.0.1:http"}, "must be host:port"),
    launched("at port 0", HOSTS | {"GPTJAX_COORDINATOR": "127.0.0.1:0"}, "must be host:port"),
    launched("at port 99999", HOSTS | {"GPTJAX_COORDINATOR": "127.0.0.1:99999"}, "must be host:port"),
    launched("of devices with names", HOSTS | {"GPTJAX_LOCAL_DEVICE_IDS": "gpu0"}, "GPTJAX_LOCAL_DEVICE_IDS=gpu0"),
    launched("with a misspelt variable", {"GPTJAX_NUM_PROCESES": "2"}, "did you mean GPTJAX_NUM_PROCESSES?"),
    launched(
        "by a Slurm of words",
        dict.fromkeys(("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID"), "1")
        | {"SLURM_NTASKS": "two"},
        "SLURM_NTASKS=two",
    ),
]

ALONE = [  # what only a process of its own can be given
    launched("on a platform that does not exist", {"JAX_PLATFORMS": "gpuu"}, "JAX_PLATFORMS=gpuu: JAX knows no such"),
]
