"""`gptjax audit`: a model's figures with their intervals, a corpus scanned and cleaned, canaries planted and found."""

import json
import stat

import numpy as np
import pytest

import gptjax
from gptjax import cli
from gptjax.commands import audit
from gptjax.data import split_files
from gptjax.data.corpora import open_corpus
from gptjax.data.split_files import Document
from gptjax.privacy import canaries, exposure
from tests.commands.test_train import lines, on_one_device

PLANT = ["audit", "--corpus=synthetic", "--limit=1", "--plant=24", "--row=64", "--secret_seed=a"]
LEARN = {"model__n_layers": 1, "model__d_model": 64, "model__n_heads": 4, "model__d_hidden": 128, "batch_tokens": 1024}
QUICKLY = {"optim__name": "muon", "optim__peak_lr": 2e-2, "optim__schedule": "linear", "sample_tokens": 0}
SELDOM = {"n_steps": 160, "eval_every": 0, "save_every": 0, "log_every": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, command):
    """A run that has read a dozen canaries a hundred times, beside text."""
    folder = tmp_path_factory.mktemp("audited")
    assert cli.main([*PLANT, f"--to={folder}/planted"]) == 0
    keys = LEARN | QUICKLY | SELDOM | {"data__corpora": f"splits:{folder}/planted"}
    assert on_one_device(command(folder / "run", **keys)) == 0
    return folder


def audited(folder, *flags, name="run"):
    assert on_one_device(["audit", f"--from={folder}/{name}", f"--json={folder}/found.json", *flags]) == 0
    return json.loads((folder / "found.json").read_text())


def test_what_was_planted_is_extracted_from_a_model_that_learned_it(folder, capsys):
    found = audited(folder, f"--canaries={folder}/planted/canaries.json", "--others=63", "--samples=1")
    (group,), left_out = found["canaries"]["groups"], found["canaries"]["left_out"]
    planted = sum(canary.planted for canary in canaries.read(f"{folder}/planted/canaries.json").canaries)
    assert (group["planted"], group["left_out"]) == (planted, 24 - planted)
    assert group["extracted"]["value"] >= 0.9 and group["exposure"]["value"] == pytest.approx(6, abs=0.2)
    assert left_out["exposure"]["interval"][1] < group["exposure"]["interval"][0]
    assert_chance(left_out["exposure"])
    assert group["epsilon"]["epsilon"] > 0.5 and group["epsilon"]["epsilon"] <= group["epsilon"]["most"]
    assert {one["attack"]: one["auc"]["value"] for one in found["attacks"]}["loss"] > 0.95
    shown = capsys.readouterr().out
    assert f"canaries: {planted} of 24 were planted; 23.3 bits each" in shown and found["command"] in shown


def assert_chance(found):
    """Within four standard errors, which chance leaves one time in 10,000: its exposure has a deviation of 1.44."""
    assert abs(found["value"] - exposure.chance(63)) < 4 * 1.44 / np.sqrt(found["n"])


@pytest.mark.prove
def test_from_a_private_model_of_the_same_size_nothing_is_learned(folder, command):
    """What the audit refutes is below what the accountant allows."""
    keys = LEARN | SELDOM | {"data__corpora": f"splits:{folder}/planted", "sample_tokens": 0, "log_every": 1}
    keys |= {"optim__name": "adamw", "optim__peak_lr": 2e-3, "optim__clip_norm": 0, "optim__weight_decay": 0}
    keys |= {"privacy__clip_norm": 1, "privacy__epsilon": 8, "privacy__delta": 1e-5, "privacy__max_batch": 32}
    assert on_one_device(command(folder / "private", **keys)) == 0
    found = audited(folder, f"--canaries={folder}/planted/canaries.json", "--others=63", name="private")
    (group,) = found["canaries"]["groups"]
    assert_chance(group["exposure"])
    assert group["extracted"]["value"] == 0
    assert group["epsilon"]["epsilon"] < max(lines(folder / "private", "privacy/epsilon").values()) <= 8


def test_texts_that_it_read_are_told_from_others_as_the_plain_model_tells_them(folder):
    members = list(split_files.documents(open_corpus(f"splits:{folder}/planted"), "train"))[:30]
    others = list(split_files.documents(open_corpus("synthetic"), "valid"))[:20]
    for name, documents in (("members", members), ("others", others)):
        lines = [json.dumps({"text": document.text}) for document in documents]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    flags = [f"--members={folder}/members.jsonl", f"--nonmembers={folder}/others.jsonl", f"--reference={folder}/run"]
    found = {one["attack"]: one for one in audited(folder, *flags)["attacks"]}
    assert {"loss", "min_k", "zlib", "reference"} == set(found)
    assert found["reference"]["auc"]["value"] == 0.5  # against itself
    assert found["loss"]["tpr"]["0.01"] is None and found["loss"]["members"] == len(members)
    loaded = gptjax.load(folder / "run")

    def mean_nats(text):
        tokens = np.array([0, *text.encode()[:64]], np.int32)
        logits = loaded.logits(tokens[:-1]).astype(np.float64)
        shifted = logits - np.log(np.sum(np.exp(logits - logits.max(1, keepdims=True)), 1, keepdims=True))
        return np.mean((shifted - logits.max(1, keepdims=True))[np.arange(len(tokens) - 1), tokens[1:]])

    mine, theirs = ([mean_nats(one.text) for one in documents] for documents in (members, others))
    slow = np.mean([(one > other) + (one == other) / 2 for one in mine for other in theirs])
    assert found["loss"]["auc"]["value"] == pytest.approx(slow, abs=1e-3)


@pytest.fixture
def dirty(tmp_path):
    """A corpus with an address, a token and a document that repeats another."""
    texts = [f"Number {at}: a text of some words that says nothing to anyone but itself.\n" for at in range(8)]
    texts[3] += "Write to anna@example.org, please.\n"
    texts[5] += "token ghp_aBcdEFghIJklMNopQRstUVwxYZ0123456789\n"
    texts[6] = texts[1]
    split_files.write(tmp_path, "train", [Document(f"d{at}", text) for at, text in enumerate(texts)])
    split_files.write(tmp_path, "valid", [Document("v0", texts[2]), Document("v1", "Another text, not like those.\n")])
    return tmp_path, texts


def test_a_corpus_is_scanned_and_written_without_what_was_found(dirty, capsys):
    folder, texts = dirty
    flags = [f"--corpus=splits:{folder}", f"--to={folder}/clean", f"--json={folder}/found.json"]
    assert cli.main(["audit", *flags]) == 0
    found, shown = json.loads((folder / "found.json").read_text()), capsys.readouterr().out
    (address,), (token,) = found["personal"], found["secrets"]
    assert address == {
        "split": "train",
        "document": "d3",
        "offset": texts[3].index("anna@"),
        "kind": "EMAIL_ADDRESS",
        "value": "a... (16 characters)",
    }
    assert (token["document"], token["kind"]) == ("d5", "GITHUB_TOKEN")
    repeats = [(one["document"], one["of"]) for one in found["duplicates"]]
    assert repeats == [("train/d6", "train/d1"), ("valid/v0", "train/d2")]
    assert "anna" not in shown and "ghp_" not in shown and "anna" not in (folder / "found.json").read_text()
    clean = open_corpus(f"splits:{folder}/clean")
    kept = {document.name: document.text for document in split_files.documents(clean, "train")}
    assert list(kept) == ["d0", "d1", "d2", "d3", "d4", "d5", "d7"]
    assert kept["d3"] == texts[3].replace("anna@example.org", "<EMAIL_ADDRESS>") and "ghp_" not in kept["d5"]
    assert all(kept[f"d{at}"] == texts[at] for at in (0, 1, 2, 4, 7))
    assert [document.name for document in split_files.documents(clean, "valid")] == ["v1"]


def test_only_what_is_asked_is_looked_for_and_strict_refuses(dirty, capsys):
    folder, texts = dirty
    flags = [f"--corpus=splits:{folder}", f"--to={folder}/clean", "--find=duplicates", "--strict"]
    assert cli.main(["audit", *flags]) == 2
    assert "2 findings" in capsys.readouterr().err
    kept = [document.text for document in split_files.documents(open_corpus(f"splits:{folder}/clean"), "train")]
    assert texts[3] in kept and len(kept) == 7


def test_the_secrets_of_a_planted_corpus_are_its_owners_and_not_printed(folder, capsys, tmp_path):
    assert cli.main([*PLANT, f"--to={tmp_path}/new/again"]) == 0
    file = tmp_path / "new/again/canaries.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == (folder / "planted/canaries.json").read_bytes()
    shown = capsys.readouterr().out
    assert not any(canary.code in shown for canary in canaries.read(str(file)).canaries)


def test_the_command_is_what_was_asked():
    asked = audit.Asked("a b", "c.json", None, None, None, 9, 0, 1e-6, 3, "x.json")
    assert asked.command == "gptjax audit '--from=a b' --canaries=c.json --others=9 --samples=0 --delta=1e-06 --seed=3"
