"""Bad input of `gptjax audit`, in the words of catalogue.py."""

from tests.reliability.catalogue import Case


def model(name: str, flags: str, says: str, files: dict[str, str | bytes | None] | None = None) -> Case:
    return Case(f"an audit {name}", f"audit --from={{run}} {flags}", says, {**(files or {})})


def corpus(name: str, flags: str, says: str, files: dict[str, str | bytes | None] | None = None) -> Case:
    return Case(f"an audit {name}", f"audit --corpus=synthetic {flags}", says, {**(files or {})})


CASES = [
    Case("an audit of nothing", "audit", "name a model, --from=DIR, or a corpus, --corpus=NAME"),
    Case("an audit of both", "audit --from={run} --corpus=synthetic", "one of the two"),
    Case("an audit from nowhere", "audit --from=/nowhere --members=configs/*.py --nonmembers=configs/*.py", "/nowhere"),
    Case("an audit of no corpus", "audit --corpus=syntetic", "did you mean synthetic?"),
    Case("an audit of a folder without splits", "audit --corpus=splits:{tmp}", "train.jsonl is not there"),
    model("for nothing", "", "--canaries: name a file of canaries, or --members and --nonmembers"),
    model("of members alone", "--members=configs/*.py", "--nonmembers: both of the two, or neither"),
    model("of others alone", "--nonmembers=configs/*.py", "--canaries: name a file of canaries"),
    model("of members that match nothing", "--members=/nowhere/*.txt --nonmembers=configs/*.py", "matches no file"),
    model("of canaries nowhere", "--canaries=/nowhere/c.json", "--canaries=/nowhere/c.json: No such file"),
    model("of no canaries", "--canaries={tmp}/c.json", "c.json: not JSON", {"c.json": "{"}),
    model("of other JSON", "--canaries={tmp}/c.json", "must be an object with version, form", {"c.json": "[]"}),
    model("beside nothing", "--canaries={tmp}/c.json --others=0", "--others=0: must be from 1 to 1000000"),
    model("with samples=-1", "--canaries=x --samples=-1", "--samples=-1: must be from 0 to 10000"),
    model("with delta=1", "--canaries=x --delta=1", "--delta=1.0: must be from 0 to below 1"),
    model("with delta=nan", "--canaries=x --delta=nan", "--delta=nan: must be from 0 to below 1"),
    model("with a seed of -1", "--canaries=x --seed=-1", "--seed=-1: must be from 0"),
    model("to nowhere", "--canaries=x --json=/nowhere/a.json", "--json=/nowhere/a.json: name a file in a folder"),
    model("with a corpus's flag", "--canaries=x --plant=3", "--plant: is for --corpus; leave it out"),
    model(
        "beside a model that is not there",
        "--members=configs/*.py --nonmembers=configs/*.py --reference=/nowhere",
        "/nowhere: not a run directory",
    ),
    corpus("with a model's flag", "--delta=0.1", "--delta: is for --from; leave it out"),
    corpus("for nothing known", "--find=names", "--find=names: no 'names'; it is some of duplicates"),
    corpus("with similar=0", "--similar=0", "--similar=0.0: must be above 0 and at most 1"),
    corpus("with limit=-1", "--limit=-1", "--limit=-1: must be at least 0"),
    corpus("that plants nowhere", "--plant=4", "--plant=4: name a folder for the corpus with canaries, --to=FOLDER"),
    corpus("that writes over something", "--to={tmp}", "is there already; name a new folder"),
    corpus("that writes below a file", "--to={tmp}/a/new", "/a is no folder; name another place", {"a": ""}),
    corpus("that reports nowhere", "--json=/nowhere/a.json", "the folder it would be in is not there"),
    corpus("in rows too short", "--plant=4 --to={tmp}/new --row=30", "try --row=46"),
    corpus("in a form without a code", "--plant=4 --to={tmp}/new --form={name}", "must hold {name} and, behind it"),
    corpus("in an alphabet of one", "--plant=4 --to={tmp}/new --alphabet=a", "at least two letters or digits"),
    corpus("with codes of nothing", "--plant=4 --to={tmp}/new --code_length=0", "--code_length=0: must be from 1"),
    corpus("with repeats of a word", "--plant=4 --to={tmp}/new --repeats=one", "--repeats=one: expected whole numbers"),
    corpus("with repeats of 0", "--plant=4 --to={tmp}/new --repeats=0", "each repeated at least once"),
    Case("a corpus of splits nowhere", "{train} --config.data.corpora=splits:/nowhere", "train.jsonl is not there"),
    Case(
        "a corpus of splits with a line that is none",
        "{train} --config.data.corpora=splits:{tmp}",
        "train.jsonl, line 1: a line is an object with `document` and `text`",
        {"train.jsonl": '{"text": "a"}', "valid.jsonl": '{"document": "a", "text": "a"}'},
    ),
]  # fmt: skip
