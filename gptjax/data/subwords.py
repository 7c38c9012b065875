"""Tokenizers whose entries are parts of words: byte-level BPE (GPT-2's, or trained here) and SentencePiece models."""

import importlib
import json
import pathlib
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int, Int32

from gptjax.config import BadInput
from gptjax.data.alphabets import Tokenizer

END_OF_TEXT = "<|endoftext|>"
ADDED = '"added_tokens": '
SPACE_SIGN = "\u2581"
FILES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))  # two names for GPT-2's vocabulary and merges
WHERE = "they are in the openai-community/gpt2 repository on the Hugging Face hub"


def letters() -> dict[str, int]:
    """GPT-2's letter for each byte: itself where it can be printed, else one from U+0100 on, in order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


LETTERS = letters()


class ByteLevelBPE(Tokenizer):
    """Byte-pair encoding of UTF-8 bytes (Radford et al. 2019, section 2.2), run by the `tokenizers` library.

    Its one file is a tokenizer.json that Hugging Face libraries read too. A text that spells <|endoftext|> is text.
    """

    def __init__(self, name: str, files: dict[str, bytes]):
        import tokenizers

        self.name, self.files = name, files
        text = files["tokenizer.json"].decode()  # of which only a little is parsed in Python: the rest is large
        self.model = tokenizers.Tokenizer.from_str(text)
        self.model.encode_special_tokens = True  # only what the loop puts between documents is the special token
        vocab = self.model.get_vocab()
        added = json.JSONDecoder().raw_decode(text, text.index(ADDED) + len(ADDED))[0]
        self.special = {token["content"]: token["id"] for token in added}
        self.end_of_text, *others = self.special.values()
        self.vocab_size = len(vocab)
        self.token_bytes = np.zeros(self.vocab_size, np.float32)
        for token, i in vocab.items():
            silent = i in (self.end_of_text, *others)
            self.token_bytes[i] = 0 if silent else len(token)  # each byte is written as one character

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        return np.array(self.model.encode(text).ids, np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        return [np.array(found.ids, np.int32) for found in self.model.encode_batch_fast(list(texts))]

    def decode(self, ids: Int[np.ndarray, " T"] | Sequence[int]) -> str:
        return self.model.decode([int(i) for i in ids], skip_special_tokens=True)

    def spelled(self, i: int) -> bytes:
        piece = self.model.id_to_token(i) or ""  # of rows that stand for no text
        return b"" if piece in self.special else bytes(LETTERS[letter] for letter in piece)


def byte_level_bpe(
    name: str, vocab: dict[str, int], merges: list[str], special: Sequence[str] = (END_OF_TEXT,)
) -> ByteLevelBPE:
    """From the entries and the merges ("a b"), strongest first. The file they came from leaves no trace.

    The first of the special tokens is end_of_text."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    ends = [{"id": vocab[token], "content": token, "special": True, "normalized": False} for token in special]
    model = {"type": "BPE", "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])), "merges": merges}
    spec = {
        "version": "1.0",
        "added_tokens": [end | {"single_word": False, "lstrip": False, "rstrip": False} for end in ends],
        "pre_tokenizer": level,
        "decoder": level,
        "model": model,
    }
    return ByteLevelBPE(name, {"tokenizer.json": json.dumps(spec).encode()})


def train_bpe(vocab_size: int, texts: Iterable[str]) -> ByteLevelBPE:
    """The most frequent merges of the texts, up to `vocab_size` entries: <|endoftext|>, the 256 bytes, the merges."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    return byte_level_bpe("bpe", model["vocab"], [" ".join(pair) for pair in model["merges"]])


def read_gpt2(path: str) -> ByteLevelBPE:
    """GPT-2's tokenizer from a folder, or a file in it, in any of the three forms it is handed around in.

    Tokens that a model folder of Hugging Face adds are special, and its eos_token is end_of_text."""
    from tokenizers import pre_tokenizers

    given = pathlib.Path(path).expanduser()
    folder = given.parent if given.is_file() else given
    try:
        if path and (found := [pair for pair in FILES if all((folder / file).is_file() for file in pair)]):
            vocab = json.loads((folder / found[0][0]).read_bytes())
            lines = (folder / found[0][1]).read_text(encoding="utf-8").split("\n")
            merges = [line for line in lines if line and not line.startswith("#version")]
        elif path and (folder / "tokenizer.json").is_file():
            vocab, merges = of_tokenizer_json(json.loads((folder / "tokenizer.json").read_bytes()))
        else:
            raise BadInput(
                f"tokenizer.path={path!r}: no GPT-2 tokenizer there; it is a folder with vocab.json and merges.txt "
                f"(or encoder.json and vocab.bpe, or tokenizer.json): {WHERE}"
            )
        end, added = special_tokens(folder)
        vocab |= added
        lacking = {end, *pre_tokenizers.ByteLevel.alphabet()} - vocab.keys()
        if lacking or sorted(vocab.values()) != list(range(len(vocab))):
            raise ValueError(f"the vocabulary lacks {sorted(lacking)[0]!r}" if lacking else "ids are not 0, 1, 2, ...")
        return byte_level_bpe("gpt2", vocab, merges, [end, *(token for token in added if token != end)])
    except BadInput:
        raise
    except Exception as error:  # the Rust library raises plain Exceptions
        raise BadInput(f"tokenizer.path={path!r}: not GPT-2's files ({' '.join(str(error).split())})") from error


def special_tokens(folder: pathlib.Path) -> tuple[str, dict[str, int]]:
    """What the files of Hugging Face beside a vocabulary say of it: end_of_text, and the ids of tokens added to it."""
    read = lambda name: json.loads((folder / name).read_bytes()) if (folder / name).is_file() else {}
    settings, whole = read("tokenizer_config.json"), read("tokenizer.json")
    added = {token["content"]: token["id"] for token in whole["added_tokens"]} if "added_tokens" in whole else {}
    added |= read("added_tokens.json")
    if settings.get("add_bos_token") or settings.get("add_prefix_space"):
        raise ValueError("tokenizer_config.json asks for add_bos_token or add_prefix_space, which gptjax does not do")
    eos = read("special_tokens_map.json").get("eos_token") or settings.get("eos_token") or END_OF_TEXT
    return eos if isinstance(eos, str) else eos["content"], dict(sorted(added.items(), key=lambda item: item[1]))


def of_tokenizer_json(spec: dict) -> tuple[dict[str, int], list[str]]:
    model, before, after = spec["model"], spec["pre_tokenizer"], spec.get("post_processor")
    whole = before["type"] == "ByteLevel" and not before["add_prefix_space"] and before.get("use_regex", True)
    if model["type"] != "BPE" or spec["normalizer"] or not whole or not adds_nothing(after):
        raise ValueError("tokenizer.json is not byte-level BPE with GPT-2's way of cutting words")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return model["vocab"], merges


def adds_nothing(after: dict | None) -> bool:
    """Whether a post-processor leaves ids as they are; transformers 5 writes a template of the text alone."""
    if after is None or after["type"] == "ByteLevel":
        return True
    return after["type"] == "TemplateProcessing" and [list(part) for part in after["single"]] == [["Sequence"]]


class SentencePiece(Tokenizer):
    """A SentencePiece model, its dummy prefix and removal of extra spaces switched off, so that text stays as it is.

    end_of_text is the model's `eos`, else its `bos`. Round trips are exact for models with byte_fallback and the
    identity normalisation. Others lose what they were made to lose: nmt_nfkc rewrites characters, and without
    byte_fallback a character that the model does not know becomes U+FFFD (counted as its 3 bytes).
    """

    name = "sentencepiece"

    def __init__(self, files: dict[str, bytes]):
        with warnings.catch_warnings():  # the bindings of some versions are compiled against a deprecated Python API
            warnings.simplefilter("ignore", DeprecationWarning)
            import sentencepiece

            proto = importlib.import_module("sentencepiece.sentencepiece_model_pb2")  # makes its classes when imported
        self.files = files
        model = proto.ModelProto.FromString(files["sentencepiece.model"])
        model.normalizer_spec.add_dummy_prefix = False
        model.normalizer_spec.remove_extra_whitespaces = False
        self.model = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        self.vocab_size: int = self.model.vocab_size()
        self.end_of_text = next((i for i in (self.model.eos_id(), self.model.bos_id()) if i >= 0), -1)
        self.special = {self.model.id_to_piece(i): i for i in range(self.vocab_size) if self.model.is_control(i)}
        self.bytes_of = [self.spelled(i) for i in range(self.vocab_size)]
        self.token_bytes = np.array([len(spelled) for spelled in self.bytes_of], np.float32)
        self.space_sign = np.array(
            [self.model.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_SIGN.encode()], np.int32
        )

    def spelled(self, i: int) -> bytes:
        piece = self.model.id_to_piece(i)
        if self.model.is_byte(i):
            return bytes([int(piece[3:5], 16)])  # <0x0A>
        if self.model.is_unknown(i):
            return "\ufffd".encode()
        return b"" if self.model.is_control(i) else piece.replace(SPACE_SIGN, " ").encode()

    def encode(self, text: str) -> Int32[np.ndarray, " T"]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " _"]]:
        found = [np.array(ids, np.int32) for ids in self.model.encode([text.split(SPACE_SIGN)[0] for text in texts])]
        for row, text in enumerate(texts):
            for part in text.split(SPACE_SIGN)[1:]:  # in the model it means a space, so in text it is spelled in bytes
                found[row] = np.concatenate([found[row], self.space_sign, np.array(self.model.encode(part), np.int32)])
        return found

    def decode(self, ids: Int[np.ndarray, " T"] | Sequence[int]) -> str:
        return b"".join(self.bytes_of[int(i)] for i in ids).decode(errors="replace")


def read_sentencepiece(path: str) -> SentencePiece:
    """The tokenizer of a .model file; BadInput where there is none, or it has neither eos nor bos."""
    file = pathlib.Path(path).expanduser()
    if not path or not file.is_file():
        raise BadInput(f"tokenizer.path={path!r}: no such file; a sentencepiece tokenizer is one .model file")
    try:
        found = SentencePiece({"sentencepiece.model": file.read_bytes()})
    except Exception as error:  # protobuf and the C++ library each raise their own
        raise BadInput(
            f"tokenizer.path={path!r}: not a SentencePiece model ({' '.join(str(error).split())})"
        ) from error
    if found.end_of_text < 0:
        raise BadInput(f"tokenizer.path={path!r}: the model has neither an eos nor a bos token to open documents with")
    return found
