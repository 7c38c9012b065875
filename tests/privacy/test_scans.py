"""Personal data, secrets and duplicates that are planted are found, at their places; ordinary text has none."""

import random

from gptjax.privacy import credentials, findings, personal
from gptjax.privacy.duplicates import Seen, runs_of
from gptjax.privacy.findings import Finding

PERSONAL = {
    "EMAIL_ADDRESS": "anna.schmidt@example.org",
    "PHONE_NUMBER": "+49 30 901820",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN_CODE": "DE89 3704 0044 0532 0130 00",
    "US_SSN": "536-90-4399",
    "CRYPTO": "1BoatSLRHtKNngkdXEeobR76b53LETtpyT",
    "IP_ADDRESS": "203.0.113.77",
    "MAC_ADDRESS": "00:1A:2B:3C:4D:5E",
}
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD9\n0vcNLYLInFEX6Ppy1tPf\n-----END RSA PRIVATE KEY-----"
SECRETS = {
    "AWS_ACCESS_KEY": "AKIAIOSFODNN7EXAMPLQ",
    "GITHUB_TOKEN": "ghp_aBcdEFghIJklMNopQRstUVwxYZ0123456789",
    "BASIC_AUTH_CREDENTIALS": "://user:s3cretpass@",
    "SECRET_KEYWORD": "hunter2horse",
    "PRIVATE_KEY": KEY,
}
LINES = {
    "AWS_ACCESS_KEY": "key = {}\n",
    "GITHUB_TOKEN": "token {}\n",
    "BASIC_AUTH_CREDENTIALS": "see https{}host.example/x\n",
    "SECRET_KEYWORD": "password = '{}'\n",
    "PRIVATE_KEY": "{}\n",
}
PROSE = (
    "In 2024 the cat sat on 3 mats[::2], and def f(x): return x ** 2 + 17 / 4.5 was read by 1,024 people.\n"
    "Version 3.11.7 costs 12.50 more; the password is asked for at 10:45, as the token of a parser is.\n"
)


def fold(values, lines=None):
    """A text with each value in a line of its own among prose, and where each stands."""
    text, places = PROSE, {}
    for kind, value in values.items():
        before, after = (lines[kind] if lines else "Write to {} please.\n").split("{}")
        places[kind] = (len(text + before), len(text + before + value))
        text += before + value + after + PROSE
    return text, places


def test_planted_personal_data_is_found_at_its_place():
    text, places = fold(PERSONAL)
    found = findings.settled(personal.find(text))
    assert {one.kind: (one.start, one.stop) for one in found} == places and len(found) == len(places)


def test_planted_secrets_are_found_at_their_places():
    text, places = fold(SECRETS, LINES)
    found = findings.settled(credentials.find(text))
    assert {one.kind: (one.start, one.stop) for one in found} == places and len(found) == len(places)


def test_prose_and_code_have_none():
    assert personal.find(PROSE) == credentials.find(PROSE) == []


def test_what_is_written_holds_no_value_and_all_the_rest():
    text, _ = fold({**PERSONAL, **SECRETS}, dict.fromkeys(PERSONAL, "Write to {} please.\n") | LINES)
    kept = findings.replaced(text, [*personal.find(text), *credentials.find(text)])
    assert not any(value in kept for value in [*PERSONAL.values(), *SECRETS.values()])
    assert "MIIBOgIBAAJBAKj34GkxFhD9" not in kept  # a key's body goes with its first line
    assert kept.count(PROSE) == 1 + len(PERSONAL) + len(SECRETS) and "Write to <CREDIT_CARD> please." in kept


def test_a_report_masks_values():
    text = "Write to anna@example.org."
    assert findings.masked(text, Finding("EMAIL_ADDRESS", 9, 25)) == "a... (16 characters)"


def test_of_findings_that_overlap_the_longest_stays_and_all_is_replaced():
    found = [Finding("A", 0, 4), Finding("B", 2, 9), Finding("C", 12, 14)]
    assert findings.settled(found) == [Finding("B", 2, 9), Finding("C", 12, 14)]
    assert findings.replaced("0123456789abcdef", found) == "<B>9ab<C>ef"


WORDS = [f"{a}{b}" for a in "bdfgklmn" for b in ("ata", "eno", "iru", "ola", "umi")]


def make_documents():
    """Forty documents, and beside ten of them a copy with a word in a hundred changed, and an exact one."""
    rng = random.Random(0)
    texts = [" ".join(rng.choice(WORDS) for _ in range(300)) for _ in range(40)]
    near = [[rng.choice(WORDS) if at % 100 == 25 else word for at, word in enumerate(text.split())] for text in texts]
    return texts, [" ".join(words) for words in near[:10]]


def similarity(one, other):
    a, b = set(runs_of(one)), set(runs_of(other))
    return len(a & b) / len(a | b)


def test_one_of_each_planted_duplicate_is_kept():
    texts, near = make_documents()
    seen = Seen(0.8)
    assert all(seen.duplicate(f"text/{at}", text) is None for at, text in enumerate(texts))
    for at in range(10):
        exact, found = seen.duplicate("again", texts[at].upper()), seen.duplicate(f"near/{at}", near[at])
        assert exact is not None and (exact.of, exact.similarity) == (f"text/{at}", 1.0)
        true = similarity(near[at], texts[at])
        assert found is not None and found.of == f"text/{at}" and abs(found.similarity - true) < 0.12
    assert list(seen.kept) == [f"text/{at}" for at in range(40)]


def test_below_the_threshold_a_document_is_its_own():
    texts, _ = make_documents()
    half = texts[0].split()[:150] + texts[1].split()[:150]
    seen = Seen(0.8)
    assert seen.duplicate("one", texts[0]) is None and seen.duplicate("half", " ".join(half)) is None


def test_a_short_text_repeats_only_itself():
    seen = Seen(0.8)
    assert seen.duplicate("a", "Yes, I do.") is None and seen.duplicate("b", "No, I do.") is None
    assert seen.duplicate("c", "yes I do") is not None
