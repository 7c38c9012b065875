"""`gptjax generate`: each option is a flag, and what cannot be is refused in one line before anything is opened."""

import pytest

from gptjax import cli
from gptjax.commands import generate


@pytest.fixture
def written(finished, capsys):
    """What the command prints with some flags."""

    def write(*flags, prompt="the "):
        assert cli.main(["generate", f"--from={finished}", f"--prompt={prompt}", "--max_tokens=20", *flags]) == 0
        return capsys.readouterr().out

    capsys.readouterr()
    return write


def test_a_prompt_is_continued_alike_alone_streamed_and_beside_others(written):
    alone = written()
    assert alone.startswith("the ") and written("--stream") == alone
    other = written(prompt="another")
    parts = written("--prompt=another").split("--- prompt ")
    assert parts == ["", "1 of 2, sample 1 of 1\n" + alone, "2 of 2, sample 1 of 1\n" + other]


@pytest.mark.parametrize(
    "flag",
    [
        "--temperature=0",
        "--top_k=2",
        "--top_p=0.3",
        "--min_p=0.9",
        "--repetition_penalty=50",
        "--frequency_penalty=50",
        "--seed=1",
        "--beams=3",
        "--best_of=4",
    ],
)
def test_a_flag_changes_the_text(flag, written):
    assert written(flag) != written()


def test_a_stop_string_ends_the_text(written):
    whole = written().rstrip("\n")
    stop = whole[8:10]
    assert written(f"--stop={stop}").rstrip("\n") == "the " + whole[4:].partition(stop)[0]


def test_log_probabilities_are_printed(written):
    lines = written("--temperature=0", "--logprobs").splitlines()
    nats = [float(line.split()[0]) for line in lines[-21:]]
    assert len(nats) == 21 and max(nats) <= 0
    assert nats[20] == pytest.approx(sum(nats[:20]) / 20, abs=1e-3)


def test_the_precision_of_the_weights_shows_in_the_log_probabilities(written):
    texts = [written("--logprobs", f"--precision={precision}") for precision in ("float32", "bfloat16", "int8")]
    assert len(set(texts)) == 3


def test_samples_of_one_seed_differ(written):
    texts = written("--samples=3").split("--- sample ")[1:]
    assert len({text.partition("\n")[2] for text in texts}) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt="], "--prompt: is empty"),
        (["--stop="], "--stop: is empty"),
        (["--samples=0"], "--samples=0: must be at least 1"),
        (["--top_k=many"], "argument --top_k: invalid int value: 'many'"),
        (["--min_p=1.5"], "--min_p=1.5: must be at least 0 and at most 1"),
        (["--repetition_penalty=0"], "--repetition_penalty=0.0: must be above 0"),
        (["--best_of=2", "--samples=3"], "--best_of=2: must be at least --samples=3"),
        (["--beams=-1"], "--beams=-1: must be at least 0"),
        (["--beams=100"], "--beams=100: must be at most 64"),
        (["--beams=2", "--top_k=3", "--stop=a"], "--beams searches and draws nothing: drop --top_k, --stop"),
        (["--beams=2", "--samples=3"], "--samples=3: must be at most --beams=2"),
        (["--length_penalty=nan"], "--length_penalty=nan: must be at least -100"),
        (["--stream", "--samples=2"], "--stream shows one text as it grows: drop --samples"),
        (["--precision=int4"], "--precision=int4: must be one of float32, bfloat16, int8"),
        (["--topk=3"], "generate has no flag --topk=3; did you mean --top_k?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_the_model_is_opened(flags, message, capsys):
    try:
        code = cli.main(["generate", "--from=/nowhere", "--prompt=a", *flags])
    except SystemExit as refused:
        code = refused.code
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1 and "/nowhere" not in err


def test_every_option_is_a_flag_with_a_help_text(capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    text = capsys.readouterr().out
    for name in generate.Request._fields:
        flag = "--from" if name == "folder" else f"--{name}"
        assert len(text.partition(f"  {flag} ")[2].split("  --")[0].split()) > 2, flag
