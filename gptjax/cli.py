"""The command line; nothing else parses a flag.

Exit codes: 0 done, 2 bad input (never retry), 3 diverged (never retry), 75 stopped with the state saved (retry),
1 anything else.
"""

import argparse
import atexit
import contextlib
import difflib
import functools
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from gptjax import audit_flags, config
from gptjax.config import BadInput
from gptjax.flags import config_overrides, make_parser
from gptjax.parser import one_line
from gptjax.runs.clock import Clock, process_start
from gptjax.runs.faults import StorageFailed

VARIABLES = ("GPTJAX_NUM_PROCESSES", "GPTJAX_PROCESS_ID", "GPTJAX_COORDINATOR", "GPTJAX_LOCAL_DEVICE_IDS")
FAILED, BAD_INPUT, DIVERGED = 1, 2, 3
OUT_OF_MEMORY = (
    "out of memory on the device: try a larger --config.accumulate, --config.model.remat=full, "
    "--config.loss.n_chunks=8, a smaller --config.batch_tokens, or more devices along mesh.data"
)
CACHE = "~/.cache/gptjax/xla"  # compiled programs, found again by the next start


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; every expected failure ends in one line on stderr and an exit code."""
    if "_ARGCOMPLETE" in os.environ:  # a shell's Tab
        from gptjax import completion

        completion.answer(make_parser())
    if argv is None:
        ask_for_huge_pages()
    clock = Clock(process_start() if argv is None else time.time())
    parser = make_parser()
    try:
        flags, rest = parser.parse_known_args(argv, argparse.Namespace(clock=clock))
        code = COMMANDS[flags.name](flags, config_overrides(rest, flags))
    except BadInput as error:
        print(f"gptjax: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except StorageFailed as error:
        print(f"gptjax: {one_line(str(error))}", file=sys.stderr)
        return FAILED
    if argv is None and flags.name == "train":
        end(code)
    return code


def run_train(flags: argparse.Namespace, overrides: list[str]) -> int:
    check_variables(os.environ)
    load = functools.cache(lambda: config.load(flags.config, overrides))
    if not any(name in os.environ for name in (*VARIABLES, "SLURM_PROCID")):
        load()  # is refused before JAX is loaded; of several processes, once they have met
    start_jax()
    import jax

    from gptjax.training import hosts

    hosts.join()

    from gptjax.commands import replay, train
    from gptjax.training.divergence import Diverged

    try:
        if flags.replay is None:
            code = train.run(load, flags.workdir, flags.change_optimizer, flags.clock)
        else:
            code = replay.run(load, flags.workdir, flags.change_optimizer, flags.replay)
        hosts.wait_for_all()
        return code
    except Diverged as error:
        keys = [f"--config={flags.config}", *(f"--config.{override}" for override in overrides)]
        again = shlex.join(["gptjax", "train", *keys, f"--workdir={flags.workdir}", f"--replay={error.step}"])
        print(f"gptjax: diverged: {error}; nothing that is not finite was saved; replay: {again}", file=sys.stderr)
        return DIVERGED
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise BadInput(OUT_OF_MEMORY) from error
        if jax.process_count() > 1 and any(word in str(error) for word in hosts.LOST):
            hosts.leave(error)
        raise


def run_plan(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax.commands import plan

    return plan.run(
        flags.config,
        overrides,
        flags.topology,
        flags.search,
        not flags.no_compile,
        flags.save_target,
        flags.json,
    )


def run_prepare(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax.data import corpora

    corpora.prepare(flags.corpus)
    return 0


def run_generate(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import generate

    fields = generate.Request._fields
    return generate.run(generate.Request(**{name: getattr(flags, name) for name in fields}))


def run_chat(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import chat

    return chat.run(chat.Asked(**{name: getattr(flags, name) for name in chat.Asked._fields}))


def run_serve(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import serve

    return serve.run(serve.Asked(**{name: getattr(flags, name) for name in serve.Asked._fields}))


def run_evaluate(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import evaluate

    return evaluate.run(evaluate.Asked(**{name: getattr(flags, name) for name in evaluate.Asked._fields}))


def run_audit(flags: argparse.Namespace, overrides: list[str]) -> int:
    if (flags.folder is None) == (flags.corpus is None):
        raise BadInput("audit: name a model, --from=DIR, or a corpus, --corpus=NAME; one of the two")
    of_other = audit_flags.of_corpus if flags.corpus is None else audit_flags.of_model
    if wrong := [name for name in of_other if getattr(flags, name) != flags.parser.get_default(name)]:
        raise BadInput(f"--{wrong[0]}: is for {'--corpus' if flags.corpus is None else '--from'}; leave it out")
    given = lambda fields: {name: getattr(flags, name) for name in fields}
    if flags.corpus is not None:
        from gptjax.commands import audit_corpus

        return audit_corpus.run(audit_corpus.Asked(**given(audit_corpus.Asked._fields)))
    start_jax()
    from gptjax.commands import audit

    return audit.run(audit.Asked(**given(audit.Asked._fields)))


def run_import_hf(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import import_hf

    return import_hf.run(flags.hf, flags.to)


def run_export_hf(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import export_hf

    return export_hf.run(flags.folder, flags.to, flags.adapter)


def run_analyze(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax.commands import analyze

    return analyze.run(analyze.Asked(**{name: getattr(flags, name) for name in analyze.Asked._fields}))


def run_inspect(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import inspect

    return inspect.run(inspect.Asked(**{name: getattr(flags, name) for name in inspect.Asked._fields}))


def run_completion(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax import completion

    print(completion.script(flags.shell))
    return 0


def ask_for_huge_pages() -> None:
    """Starts this process anew, in 20 ms, with the one setting that glibc reads only at its own start.

    XLA's CPU backend takes and returns the memory of a step at each step, and a sixth of a small step is page faults of
    4 KiB each; with huge pages there are 512 times fewer. Who has set GLIBC_TUNABLES is left in peace.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def check_variables(env: Mapping[str, str]) -> None:
    """Raises BadInput for what is nearly one of our variables: with it left out, each process would train alone."""
    for name in env:
        near = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
        if near and name not in VARIABLES and name.startswith("GPTJAX"):
            raise BadInput(f"the environment has {name}; did you mean {near[0]}?")


def end(code: int) -> NoReturn:
    """Ends this process without taking Python and JAX apart, which takes 0.9 s of a run whose files are all closed."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody may be reading any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def start_jax() -> None:
    """Settings that must precede the first compile; the cache of compiled programs is JAX's own."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser(CACHE))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # a text's five programs take half each


COMMANDS = {
    "train": run_train,
    "plan": run_plan,
    "prepare": run_prepare,
    "generate": run_generate,
    "chat": run_chat,
    "serve": run_serve,
    "evaluate": run_evaluate,
    "audit": run_audit,
    "import-hf": run_import_hf,
    "export-hf": run_export_hf,
    "analyze": run_analyze,
    "inspect": run_inspect,
    "completion": run_completion,
}


if __name__ == "__main__":
    sys.exit(main())
