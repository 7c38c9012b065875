"""The flags of every command; what is left over is a config key, or refused with the nearest right word."""

import argparse
import difflib

from gptjax import audit_flags, config, help_text
from gptjax.config import BadInput
from gptjax.parser import Parser, Row, add, add_rows
from gptjax.version import VERSION


def make_parser() -> argparse.ArgumentParser:
    """All commands with their flags; the name of the one that was asked for becomes `name`."""
    parser = Parser(
        prog="gptjax",
        description=help_text.WHAT,
        epilog=help_text.MORE,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gptjax {VERSION}", help="print it and end")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    train = add(commands, "train", "train a model, or go on training it")
    train.add_argument(
        "--config",
        required=True,
        metavar="FILE",
        help="a file of configs/; --config.KEY=VALUE changes it (configs/base.py)",
    )
    train.add_argument(
        "--workdir", required=True, metavar="DIR", help="the run: logs and checkpoints (local, gs:// or s3://)"
    )
    train.add_argument(
        "--change_optimizer",
        action="store_true",
        help="let a resumed run go on with other optim.* keys than it began with",
    )
    train.add_argument(
        "--replay",
        type=int,
        metavar="STEP",
        help="do the updates up to that of batch STEP again from the newest checkpoint before it, print its metrics "
        "bit by bit, and write nothing",
    )

    plan = add(commands, "plan", "tell whether a config fits a machine, and how long it takes")
    plan.add_argument("--config", required=True, metavar="FILE", help="as of train")
    plan.add_argument(
        "--topology",
        metavar="NAME",
        help="v5e:16x16, 2*v5p:8x8x8 (slices), h100:2x8 (hosts x GPUs), rtx4090 (one GPU); default: this machine",
    )
    plan.add_argument(
        "--search", action="store_true", help="propose mesh, remat and batch for the topology, by formula"
    )
    plan.add_argument("--no_compile", action="store_true", help="only what a formula knows, in a second")
    plan.add_argument(
        "--save-target", metavar="FILE", help="write the GPU at hand as a topology, FILE.txtpb:HOSTSxGPUS"
    )
    plan.add_argument("--json", metavar="FILE", help="write every figure too")

    prepare = add(commands, "prepare", "download and prepare a corpus")
    prepare.add_argument("--corpus", required=True, metavar="NAME", help="as in data.corpora, e.g. tfds:lm1b")

    add_generate(commands)
    add_chat(commands)
    add_serve(commands)
    add_evaluate(commands)
    audit_flags.add_to(
        add(commands, "audit", "what a model keeps of its training text, or what a corpus had better not hold")
    )

    bring = add(commands, "import-hf", "make a run of a Hugging Face model folder")
    bring.add_argument(
        "--hf", required=True, metavar="DIR|NAME", help="a folder with config.json and safetensors, or user/model"
    )
    bring.add_argument("--to", required=True, metavar="RUN", help="a new run directory")

    take = add(commands, "export-hf", "make a Hugging Face model folder of a run")
    take.add_argument("--from", dest="folder", required=True, metavar="RUN", help="as of generate")
    take.add_argument("--to", required=True, metavar="DIR", help="a new folder, for transformers to load")
    take.add_argument("--adapter", action="store_true", help="only the adapters of lora.rank, for peft to load")

    add_analyze(commands)
    add_inspect(commands)
    complete = add(commands, "completion", 'complete commands, flags and keys: eval "$(gptjax completion bash)"')
    complete.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    return parser


def add_generate(commands) -> None:
    generate = add(commands, "generate", "continue a prompt")
    add_from(generate)
    generate.add_argument(
        "--prompt", required=True, action="append", metavar="TEXT", help="may be given several times, for a batch"
    )
    rows: list[Row] = [
        ("max_tokens", int, 256, "N", "tokens of a text, or fewer up to an end of text"),
        ("temperature", float, None, "T", "what logits are divided by (default 0.8); 0 takes the likeliest token"),
        ("top_k", int, 0, "K", "sample among the K likeliest; 0 = all"),
        ("top_p", float, 1.0, "P", "sample among the likeliest that reach P"),
        ("min_p", float, 0.0, "P", "sample among those at least P times as likely as the likeliest; 0 = all"),
        ("repetition_penalty", float, 1.0, "R", "divide the logits of tokens in prompt and text by R; 1 = off"),
        ("frequency_penalty", float, 0.0, "F", "take F from a token's logit for each time it was chosen; 0 = off"),
        ("beams", int, 0, "N", "search for the likeliest text among N side by side, and draw nothing; 0 = sample"),
        ("length_penalty", float, 1.0, "A", "of --beams: divide a text's log-probability by its tokens to the power A"),
        ("seed", int, 0, "S", "the same seed and prompt give the same text, in any batch"),
        ("samples", int, 1, "N", "texts for each prompt"),
        ("best_of", int, 0, "N", "draw N texts and keep the --samples likeliest a token; 0 = off"),
        (
            "precision",
            str,
            "float32",
            "NAME",
            "how weights are held: float32, bfloat16 (half as large) or int8 (a quarter)",
        ),
    ]
    add_rows(generate, rows)
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given several times"
    )
    generate.add_argument("--logprobs", action="store_true", help="print each token's log-probability, in nats")
    generate.add_argument("--stream", action="store_true", help="print the text as it grows")


def add_chat(commands) -> None:
    chat = add(commands, "chat", "talk with a model, on a terminal or through a pipe")
    add_from(chat)
    rows: list[Row] = [
        ("system", str, "", "TEXT", "how to answer"),
        ("max_tokens", int, 256, "N", "tokens of an answer, for which the oldest messages make room"),
        ("temperature", float, 0.8, "T", "what logits are divided by; 0 takes the likeliest token"),
        ("top_k", int, 0, "K", "sample among the K likeliest; 0 = all"),
        ("top_p", float, 1.0, "P", "sample among the likeliest that reach P"),
        ("seed", int, 0, "S", "the same seed and the same messages give the same answers"),
        ("precision", str, "float32", "NAME", "how weights are held, as of generate"),
    ]
    add_rows(chat, rows)


def add_serve(commands) -> None:
    serve = add(commands, "serve", "answer OpenAI's clients over HTTP, and a browser with a page to chat on")
    add_from(serve)
    rows: list[Row] = [
        ("host", str, "127.0.0.1", "ADDRESS", "where to listen; another machine's reach needs a token"),
        ("port", int, 8000, "N", "0 takes any that is free"),
        ("token", str, None, "TEXT", "what clients must know; GPTJAX_TOKEN in the environment is seen by fewer"),
        ("model", str, None, "NAME", "what clients call the model; default: the run's folder"),
        ("context", int, 0, "N", "most tokens of prompt and text, for a smaller cache; 0 = the model's"),
        ("precision", str, "float32", "NAME", "how weights are held, as of generate"),
        ("rows", int, 16, "N", "texts written at once, each with a cache as long as the context"),
        ("max_queue", int, 64, "N", "texts that may wait for a row; more are refused with 429"),
        ("max_body", int, 1_048_576, "BYTES", "of a request"),
        ("timeout", float, 300.0, "SECONDS", "of a request, its time in the queue included"),
    ]
    add_rows(serve, rows)


def add_evaluate(commands) -> None:
    evaluate = add(commands, "evaluate", "score a model on tasks, beside trivial answers and another model")
    add_from(evaluate)
    rows: list[Row] = [
        (
            "tasks",
            str,
            None,
            "NAME,...",
            "tasks that ship, FILE.py with a TASK, or heldout: the run's own held-out text",
        ),
        ("harness", str, None, "NAME,...", "tasks of lm-evaluation-harness instead, by name or FILE.yaml"),
        ("harness_tasks", str, None, "FOLDER", "YAML files of such tasks, which go before the harness's own"),
        ("against", str, None, "DIR", "another model, for the paired difference"),
        ("shots", int, None, "N", "examples before each question; default: the task's own number"),
        ("limit", int, 0, "N", "only the first N questions of each task; 0 = all"),
        ("json", str, None, "FILE", "write every score, with its interval, n, signature and command"),
        ("samples", str, None, "FILE", "write every question with the model's answer, as JSON lines"),
    ]
    add_rows(evaluate, rows)
    evaluate.add_argument(
        "--apply_chat_template",
        action="store_true",
        help="of --harness: prompts are a user's messages, as the run's chat template has them",
    )


def add_analyze(commands) -> None:
    analyze = add(commands, "analyze", "compare runs: tables, means over seeds, files")
    analyze.add_argument("runs", nargs="+", metavar="RUN", help="a run directory, a folder of runs, or a glob of them")
    rows: list[Row] = [
        ("metric", str, None, "NAME", "what is compared; default: eval/nll, or train/nll where that is not"),
        ("at", str, None, "AXIS[:N]", "compare at N tokens, steps, flops or time; without N: at the most all reached"),
        (
            "sort",
            str,
            None,
            "[-]KEY",
            "order by a key, a metric, step...; with - the largest first; default: the best",
        ),
        ("group", str, None, "KEY,...", "average runs alike in these keys; default: in all that differ but the seed"),
        ("json", str, None, "FILE", "write runs and groups"),
        ("csv", str, None, "FILE", "write a row for each run"),
        ("parquet", str, None, "FILE", "the same, for dataframes"),
        ("html", str, None, "FILE", "write a page with tables and pictures, which needs nothing else"),
    ]
    add_rows(analyze, rows)
    analyze.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="TEST",
        help="only runs such as optim.peak_lr>=1e-3, status=done, name~REGEX; several must all hold",
    )
    analyze.add_argument("--follow", action="store_true", help="draw again while runs write")
    analyze.add_argument(
        "--import",
        dest="format",
        metavar="KIND",
        help="what wrote the logs: tensorboard, wandb, maxtext, levanter, nanogpt, points; default: told by content",
    )
    analyze.add_argument(
        "--diff", action="store_true", help="two runs, or quoted globs of two: where they part, and whether seeds do it"
    )
    analyze.add_argument("--scaling", action="store_true", help="fit L(N, D) to the runs, and isoFLOP parabolas")
    analyze.add_argument(
        "--budget",
        action="append",
        type=float,
        default=[],
        metavar="FLOPS",
        help="of --scaling: the compute whose best model is asked for; may be given several times",
    )


def add_inspect(commands) -> None:
    inspect = add(commands, "inspect", "look inside: surprise, attention, logit lens, attribution, patching")
    add_from(inspect)
    inspect.add_argument("--prompt", required=True, metavar="TEXT", help="what the model reads")
    rows: list[Row] = [
        ("html", str, None, "FILE", "write a page with all of it, which needs nothing else"),
        ("corrupted", str, None, "TEXT", "a text of as many tokens, into which activations of the prompt are put"),
        ("answer", str, None, "TEXT", "the token that is asked for after the prompt; default: the likeliest"),
        ("instead", str, None, "TEXT", "the token it is held against; default: what the corrupted text leads to"),
    ]
    add_rows(inspect, rows)


def add_from(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="folder",
        required=True,
        metavar="DIR",
        help="a run, one checkpoint in it, or a Hugging Face folder",
    )


def config_overrides(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """The `key=value` of each --config.key=value; raises BadInput for any other flag left over."""
    overrides = []
    for number, word in enumerate(rest):
        if "config" in flags and word.startswith("--config."):
            if "=" not in word:
                values = [after for after in rest[number + 1 : number + 2] if not after.startswith("-")]
                raise BadInput(f"{word}: expected {word}={(values or ['VALUE'])[0]}")
            overrides.append(word.removeprefix("--config."))
            continue
        name = word.partition("=")[0]
        near = difflib.get_close_matches(name, flags.parser._option_string_actions, n=1)
        if "config" in flags and name.removeprefix("--") in config.key_types():
            near = [name.replace("--", "--config.", 1)]
        raise BadInput(f"{flags.name} has no flag {word}" + (f"; did you mean {near[0]}?" if near else ""))
    return overrides
