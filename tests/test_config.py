import json
import pathlib
import re

import pytest

from gptjax import config, keys
from gptjax.config import BadInput

BASE = "configs/base.py"
CONFIGS = sorted(path.as_posix() for path in pathlib.Path("configs").glob("[!_]*.py"))
FREE = """
    name note tags n_steps accumulate log_every eval_every eval_tokens save_every keep_last keep_every sample_every
    sample_prompt sample_tokens stop_after_s stop_patience stuck_after_s profile_steps data.cache loss.n_chunks
    spike.action spike.threshold spike.window privacy.method
    model.attention model.scan model.remat model.saved model.offloaded mesh.replica mesh.data mesh.tensor mesh.sequence
    log.tensorboard log.wandb_project log.trackio_project
"""
OPTIMIZER = """
    loss.z_weight optim.name optim.peak_lr optim.schedule optim.warmup_steps optim.final_lr_fraction
    optim.decay_fraction optim.b1 optim.momentum_dtype optim.b2 optim.eps optim.weight_decay optim.clip_norm
    optim.ema_decay tune.patterns tune.rates dpo.beta
"""
NEVER = """
    privacy.clip_norm privacy.noise_multiplier privacy.epsilon privacy.delta privacy.max_batch
    seed init_from batch_tokens stop_metric lora.rank lora.alpha lora.matrices
    tokenizer.name tokenizer.path data.corpora data.weights data.mask_documents
    data.chat_template data.fill data.too_long
    model.vocab_size model.context model.n_layers model.d_model model.n_heads model.n_kv_heads model.d_hidden
    model.position model.rope_base model.norm model.norm_eps model.mlp model.bias model.qk_norm model.tied
    model.parallel model.logit_softcap model.dropout model.pad_vocab_to model.mup_base_width
    model.dtype
"""
SAY_IT_ALL = {"model.n_layers", "optim.peak_lr", "optim.eps", "log.tensorboard"}  # a comment would repeat the name

REFUSED = [  # overrides of the base config, what the message says
    (["model.n_layer=3"], ["model.n_layer", "did you mean model.n_layers?"]),
    (["peak_lr=1"], ["peak_lr", "did you mean optim.peak_lr?"]),
    (["b2=0.5"], ["b2", "did you mean optim.b2?"]),
    (["optimizer.name=lion"], ["optimizer.name", "did you mean optim.name?"]),
    (["n_steps.x=3"], ["n_steps.x", "did you mean n_steps?"]),
    (["zzz=3"], ["zzz", "configs/base.py lists every key"]),
    (["=3"], ["no key", "configs/base.py"]),
    (["model=3"], ["model is a section", "model.vocab_size"]),
    (["n_steps"], ["n_steps", "--config.n_steps=VALUE"]),
    (["n_steps=ten"], ["n_steps=", "ten", "not a valid int"]),
    (["n_steps=1.5"], ["n_steps=", "1.5", "not a valid int"]),
    (["n_steps=inf"], ["n_steps=", "inf", "not a valid int"]),
    (["n_steps="], ["n_steps=", "not a valid int"]),
    (["n_steps=--5"], ["n_steps=", "--5", "not a valid int"]),
    (["optim.b1=big"], ["optim.b1=", "big", "not a valid float"]),
    (["model.bias=yes"], ["model.bias=", "yes", "true or false"]),
    (["data.weights=1,x"], ["data.weights=", "1,x", "not a list of float"]),
    (["data.corpora=(1"], ["data.corpora=", "(1", "not a list of str"]),
    (["data.corpora=('python')"], ["data.corpora=", "not a list of str"]),
    (["n_steps=1\n2"], ["n_steps=", "not a valid int"]),
    (["profile_steps=[1.5, 2]"], ["profile_steps", "not a list of int"]),
    (["optim.peak_lr=nan"], ["optim.peak_lr=nan", "finite"]),
    (["optim.clip_norm=inf"], ["optim.clip_norm=inf", "finite"]),
    (["data.weights=nan"], ["data.weights=(nan,)", "finite"]),
    (["n_steps=0"], ["n_steps=0", "at least 1"]),
    (["seed=-1"], ["seed=-1", "at least 0"]),
    (["optim.weight_decay=-0.1"], ["optim.weight_decay=-0.1", "at least 0"]),
    (["mesh.data=-2"], ["mesh.data=-2", "at least -1"]),
    (["model.dropout=1"], ["model.dropout=1.0", "below 1"]),
    (["optim.b2=1.0"], ["optim.b2=1.0", "below 1"]),
    (["optim.final_lr_fraction=1.5"], ["optim.final_lr_fraction=1.5", "at most 1"]),
    (["optim.name=adam"], ["optim.name='adam'", "did you mean 'adamw'?", "lion"]),
    (["model.dtype=float16"], ["model.dtype='float16'", "did you mean 'bfloat16'?"]),
    (["model.attention=flash"], ["model.attention='flash'", "did you mean 'splash'?"]),
    (["model.mlp=swiglu2"], ["model.mlp='swiglu2'", "did you mean 'swiglu'?"]),
    (["model.d_model=250"], ["model.d_model=250", "model.n_heads=4", "try 248"]),
    (["model.n_kv_heads=3"], ["model.n_kv_heads=3", "model.n_heads=4", "try 2"]),
    (["model.n_kv_heads=8"], ["model.n_kv_heads=8", "model.n_heads=4", "try 4"]),
    (["model.position=rope", "model.d_model=12"], ["model.position='rope'", "even head width", "=3"]),
    (["batch_tokens=10000"], ["batch_tokens=10000", "=256", "try 9984"]),
    (["accumulate=3"], ["batch_tokens=16384", "accumulate=768", "try 16128"]),
    (["loss.n_chunks=3"], ["loss.n_chunks=3", "model.context=256", "try 2"]),
    (["data.weights=1,2"], ["data.weights", "2 entries for 1"]),
    (["data.corpora=", "data.weights="], ["data.weights", "0 entries for 0"]),
    (["data.weights=0"], ["data.weights", "above 0"]),
    (["optim.warmup_steps=1000"], ["optim.warmup_steps=1000", "below n_steps=1000"]),
    (["mesh.tensor=-1"], ["mesh=", "at most one may be -1"]),
    (["mesh.tensor=0"], ["mesh=", "above 0"]),
    (["profile_steps=3"], ["profile_steps=(3,)", "first and last"]),
    (["profile_steps=5,3"], ["profile_steps=(5, 3)", "first and last"]),
    (["profile_steps=-2,3"], ["profile_steps=(-2, 3)", "at least 0"]),
]
ACCEPTED = [
    ("n_steps=1e6", "n_steps", 1_000_000),
    ("n_steps=65_536", "n_steps", 65_536),
    ("optim.peak_lr=3e-4", "optim.peak_lr", 3e-4),
    ("optim.clip_norm=2", "optim.clip_norm", 2.0),
    ("model.tied=False", "model.tied", False),
    ("model.qk_norm=1", "model.qk_norm", True),
    ("tags=a,b c", "tags", ("a", "b c")),
    ("tags=", "tags", ()),
    ("tags=['a,b']", "tags", ("a,b",)),
    ("profile_steps=(3, 5)", "profile_steps", (3, 5)),
    ("data.weights=2", "data.weights", (2.0,)),
    ("sample_prompt=a=b", "sample_prompt", "a=b"),
    ("note=", "note", ""),
]
BROKEN = [  # lines of a config file after `c = base.get_config()`, what the message says
    ("c.n_stps = 3", ["n_stps", "n_steps"]),
    ("c.optim.lr = 3", ["lr"]),
    ("c.n_steps = 'many'", ["many"]),
    ("c.n_steps = 2.5", ["2.5"]),
    ("c.model = 3", ["model"]),
    ("c.n_steps = 0", ["n_steps=0", "at least 1"]),
    ("with c.unlocked(): c.extra = 3", ["no key extra"]),
    ("with c.unlocked(): c.model.n_layer = 3", ["no key model.n_layer", "model.n_layers"]),
    ("with c.unlocked(): del c.optim.b1", ["lacks optim.b1", "configs/base.py"]),
    ("with c.ignore_type(): c.n_steps = None", ["n_steps=None", "expected int"]),
    ("with c.ignore_type(): c.model = 3", ["model is a section, not 3"]),
    ("with c.ignore_type(): c.tags = 'abc'", ["tags='abc'", "expected a tuple"]),
    ("with c.ignore_type(): c.seed = True", ["seed=True", "expected int, got bool"]),
    ("import no_such_module", ["no_such_module"]),
    ("c.n_steps = = 3", ["invalid syntax"]),
    ("c.n_steps = undefined", ["NameError", "undefined"]),
    ("c.n_steps = 1 // 0", ["ZeroDivisionError"]),
    ("open('no_such_file')", ["no_such_file"]),
    ("c = None", ["get_config() returned None"]),
]


FILE = "from configs import base\n\n\ndef get_config():\n    c = base.get_config()\n    {}\n    return c\n"


def flat(cfg: config.Config) -> dict:
    return config.flatten(config.to_dict(cfg))


def refusal(file, overrides=()) -> str:
    with pytest.raises(BadInput) as caught:
        config.load(file, overrides)
    return str(caught.value)


@pytest.mark.parametrize("file", CONFIGS)
def test_every_shipped_config_loads(file):
    name = pathlib.Path(file).stem
    assert config.load(file).name == name


@pytest.mark.parametrize(("overrides", "says"), REFUSED, ids=lambda value: ",".join(value)[:40])
def test_a_bad_override_is_refused_in_one_line(overrides, says):
    message = refusal(BASE, overrides)
    assert "\n" not in message
    assert [part for part in says if part not in message] == [], message


@pytest.mark.parametrize(("override", "key", "value"), ACCEPTED)
def test_an_override_changes_its_key_alone(override, key, value):
    found = flat(config.load(BASE, [override]))
    assert found == {**flat(config.load(BASE)), key: value}
    assert type(found[key]) is type(value)


def test_the_last_override_wins():
    assert config.load(BASE, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(("line", "says"), BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, line, says):
    (tmp_path / "mine.py").write_text(FILE.format(line))
    message = refusal(tmp_path / "mine.py")
    assert "\n" not in message
    assert [part for part in says if part not in message] == [], message


def test_an_unknown_key_of_a_file_is_not_made_known_by_an_override(tmp_path):
    (tmp_path / "mine.py").write_text(FILE.format("with c.unlocked(): c.extra = 3"))
    assert "no key extra" in refusal(tmp_path / "mine.py", ["extra=4"])


def test_a_file_without_get_config_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("x = 1\n")
    assert "mine.py: " in refusal(tmp_path / "mine.py") and "get_config" in refusal(tmp_path / "mine.py")


@pytest.mark.parametrize(
    ("file", "near"),
    [("configs/smoek.py", "configs/smoke.py"), ("smoke.py", None), ("nowhere/gpt2_124.py", "configs/gpt2_124m.py")],
)
def test_a_missing_file_names_the_nearest(file, near):
    message = refusal(file)
    assert message.startswith(f"--config={file}: no such file")
    assert near is None or message.endswith(f"did you mean {near}?")


def test_a_file_that_is_not_python_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert refusal(tmp_path / "mine.yaml").endswith("mine.yaml: not a Python file")


def test_base_lists_every_key_once_with_a_comment():
    pattern = re.compile(r"    c\.([\w.]+) = (.*)")
    lines = [match.groups() for line in pathlib.Path(BASE).read_text().splitlines() if (match := pattern.match(line))]
    keys = [key for key, value in lines if "ConfigDict()" not in value]
    assert keys == list(config.key_types())  # in the order of the dataclasses too
    bare = {key for key, value in lines if "ConfigDict()" not in value and "  # " not in value}
    assert bare == SAY_IT_ALL


@pytest.mark.parametrize("key", sorted(set(keys.CHOICES) - {"model.saved", "model.offloaded"}))
def test_the_comment_of_a_choice_names_all_of_it(key):
    (comment,) = re.findall(rf"^    c\.{re.escape(key)} = .*?  # (.*)$", pathlib.Path(BASE).read_text(), re.M)
    assert set(keys.CHOICES[key]) <= set(re.findall(r"\w+", comment))


def test_values_of_base_have_the_type_of_their_key():
    values = config.flatten(config.read_file(pathlib.Path(BASE)))
    kinds = {key: tuple if str(kind).startswith("tuple") else kind for key, kind in config.key_types().items()}
    assert {key: type(value) for key, value in values.items()} == kinds


@pytest.mark.parametrize("file", CONFIGS)
def test_a_config_survives_run_json(file):
    cfg = config.load(file, ["tags=a,b", "profile_steps=2,4"])
    assert config.from_dict(config.to_dict(cfg)) == cfg
    assert config.from_dict(json.loads(json.dumps(config.to_dict(cfg)))) == cfg
    assert len({cfg, config.from_dict(config.to_dict(cfg))}) == 1  # hashable: it is static under jit


def test_a_whole_number_serves_as_a_float():
    values = config.to_dict(config.load(BASE))
    values["optim"]["clip_norm"] = 2
    assert type(config.from_dict(values).optim.clip_norm) is float


@pytest.mark.parametrize(("rule", "keys"), [("free", FREE), ("optimizer", OPTIMIZER), ("never", NEVER)])
def test_what_may_differ_on_resume(rule, keys):
    assert {key for key in config.key_types() if config.resume_rule(key) == rule} == set(keys.split())


def test_sizes_that_follow_from_keys():
    cfg = config.load(BASE, ["model.vocab_size=50257", "model.n_heads=8", "batch_tokens=1024"])
    assert (cfg.model.padded_vocab, cfg.model.d_head, cfg.batch_size) == (50_304, 32, 4)
    assert config.load(BASE).model.padded_vocab == 256


def test_a_folder_without_configs_has_those_that_ship(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.format("c.seed = 7"))
    assert config.load("mine.py").seed == 7  # it says `from configs import base`, which is not there
    assert config.load("configs/smoke.py").name == "smoke"
    assert refusal("configs/smoek.py").endswith("did you mean configs/smoke.py?")
    assert refusal("configs/xyz").endswith(f"no such file, here or in {config.shipped() / 'configs'}")


def test_ones_own_configs_go_before_those_that_ship(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/smoke.py").write_text(FILE.format("c.name = 'mine'"))
    assert config.load("configs/smoke.py").name == "mine"
    assert config.load("configs/small.py").name == "small"  # and the others are there all the same
