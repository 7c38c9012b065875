"""Bad input of `gptjax analyze`, as catalogue.py has that of the other commands."""

from tests.reliability.catalogue import Case, Link

COLUMNS = "n_params,tokens,loss\n"
POINTS: dict[str, str | bytes | None | Link] = {"a.csv": COLUMNS + "1e6,1e8,3\n"}
NO_METRIC = "nothing in it is a metric as"
CASES = [
    Case("a diff of one", "analyze {run} --diff", "--diff compares two, each a run"),
    Case("a diff of three", "analyze {run} {run} {run} --diff", "--diff compares two, each a run"),
    Case("a diff into a table", "analyze {run} {run} --diff --csv={tmp}/new", "--csv is of the table"),
    Case("a diff and a law", "analyze {run} {run} --diff --scaling", "--diff and --scaling are two answers"),
    Case("a diff of no such seed", "analyze {run} {run} --diff --where=seed=99", "no run of one side fits --where"),
    Case("a diff that cannot be written", "analyze {run} {run} --diff --json=/nowhere/x", "--json=/nowhere/x: No such"),
    Case("a law of nothing", "analyze {run} --scaling --where=seed=99", "none of 0 runs is a point of a law"),
    Case("a budget without a law", "analyze {run} --budget=1e15", "--budget is what --scaling foretells"),
    Case("a budget of nothing", "analyze {tmp}/a.csv --scaling --budget=0", "--budget=0: FLOPs are", POINTS),
    Case("a budget of words", "analyze {run} --scaling --budget=much", "argument --budget: invalid float value"),
    Case("a format nobody knows", "analyze {run} --import=tensorbord", "did you mean tensorboard?"),
    Case("a file of no format", "analyze {tmp}/a.txt", "a.txt: is no run, and no log", {"a.txt": "hello"}),
    Case("a folder as a log", "analyze {run} --import=nanogpt", "--import=nanogpt reads a file, and this is a folder"),
    Case("a log that is not there", "analyze {tmp}/a --import=wandb", "/a: no such file"),
    Case("a log of another program", "analyze {tmp}/a.csv --import=nanogpt", NO_METRIC, POINTS),
    Case("an event file of zeros", "analyze {tmp}/a --import=tensorboard", NO_METRIC, {"a": bytes(99)}),
    Case("points that are none", "analyze {tmp}/a.csv", NO_METRIC, {"a.csv": COLUMNS + "a"}),
]  # fmt: skip
