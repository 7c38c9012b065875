"""`gptjax plan` as a user meets it: exit codes, lines, JSON; the compiler is asked only of this machine."""

import json
import subprocess
import sys

import pytest

from gptjax import cli
from gptjax.commands import compile_step, plan, plan_text
from gptjax.config import BadInput
from tests.tiny import SIZES, make_config

KEYS = {"fits", "memory_bytes", "hbm_bytes", "collectives", "roofline", "estimate", "flops", "memory", "missing"}


def planned(tmp_path, *flags: str) -> dict:
    file = tmp_path / "plan.json"
    assert cli.main(["plan", f"--json={file}", *flags]) == 0
    return json.loads(file.read_text())


def test_a_plan_by_formula(tmp_path, capsys):
    found = planned(tmp_path, "--config=configs/gpt2_124m.py", "--topology=v5e:4x4", "--no_compile")
    said = capsys.readouterr().out
    assert KEYS <= set(found) and found["source"] == "formula"
    assert found["fits"] is True and found["hbm_bytes"] == 16 * 2**30 and found["mesh"]["data"] == 16
    assert f"fits: {found['memory_bytes'] / 2**30:.2f} of 16 GiB a device" in said
    assert "AT BEST" in said and "not compiled" in said and "None" not in said
    assert found["estimate"]["days"] == pytest.approx(600_000 * found["roofline"]["step_s"] / 86_400)
    assert found["estimate"]["chip_hours"] == pytest.approx(found["estimate"]["days"] * 24 * 16)


def test_what_does_not_fit_is_said(tmp_path, capsys):
    big = ["--config.model.remat=none", "--config.accumulate=1", "--config.loss.n_chunks=1"]
    found = planned(tmp_path, "--config=configs/gpt2_124m.py", "--topology=v5e:2x2", "--no_compile", *big)
    assert found["fits"] is False
    said = capsys.readouterr().out
    assert "DOES NOT FIT" in said and "with --search proposes what fits" in said


def test_one_gpu_that_the_compiler_does_not_know_is_planned_by_formula(tmp_path, capsys):
    found = planned(tmp_path, "--config=configs/gpt2_tune.py", "--topology=rtx4090")
    assert found["fits"] is True and found["hbm_bytes"] == 24 * 2**30 and found["source"] == "formula"
    assert "no NVIDIA GeForce RTX 4090 from afar; on one, --save-target" in capsys.readouterr().out


def test_without_a_compiler_the_plan_says_what_installs_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plan.importlib.util, "find_spec", lambda name: None)
    found = planned(tmp_path, "--config=configs/gpt2_124m.py", "--topology=v5e:4x4")
    assert "pip install 'gptjax[plan]'" in found["missing"] and "gptjax[plan]" in capsys.readouterr().out


def test_this_machine_is_asked_in_a_child(tmp_path, capsys):
    sizes = [f"--config.{size}" for size in SIZES]
    found = planned(tmp_path, "--config=configs/base.py", *sizes)
    assert found["source"] == "compiled, never run" and found["fits"] is None and found["hbm_bytes"] is None
    assert found["memory_bytes"] > 4 * 3 * found["n_params"] and found["estimate"]["mfu"] is None
    said = capsys.readouterr().out
    assert "this machine" in said and "how long a step takes: unknown" in said and "(unknown)" not in said


def test_a_compiler_that_dies_is_a_line_and_not_a_stack(tmp_path, capsys, monkeypatch):
    dead = [sys.executable, "-c", "import sys; sys.exit('Check failed: bounds')"]
    real = subprocess.run
    monkeypatch.setattr(plan.subprocess, "run", lambda command, **kinds: real(dead, **kinds))
    monkeypatch.setattr(plan.importlib.util, "find_spec", lambda name: name)
    assert cli.main(["plan", "--config=configs/gpt2_124m.py", "--topology=v5e:4x4"]) == 1
    assert "ended with exit code 1: Check failed: bounds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("message", "needed", "usable"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeded", 20.5, 15.75),
        ("the total memory required for HLO temporaries (183.18G) exceeds available HBM (15.75G).", 183.18, 15.75),
    ],
)
def test_a_refusal_for_want_of_memory_names_its_bytes(message, needed, usable):
    found = compile_step.needed(message)
    assert found == {"needed_bytes": needed * 2**30, "usable_bytes": usable * 2**30}
    assert compile_step.needed("RESOURCE_EXHAUSTED: something else") == {}
    machine = plan.Machine("v5e:1x1", "TPU v5 lite", 1, 1)
    said = {"out_of_memory": message, **found}
    figures = plan.figures(make_config(), machine, plan.resolve(make_config(), 1, 1), said)
    assert figures["fits"] is False and f"DOES NOT FIT: {needed:.2f} of 16 GiB" in plan_text.verdict(figures)


def test_a_search_prints_overrides_that_can_be_pasted(tmp_path, capsys):
    found = planned(tmp_path, "--config=configs/gpt2_124m.py", "--topology=v5e:4x4", "--search")
    said = capsys.readouterr().out
    assert 1 < len(found["choices"]) <= 5
    for number, one in enumerate(found["choices"], 1):
        assert f"{number}: {' '.join(one['overrides'])}\n" in said
        assert all(text.startswith("--config.") for text in one["overrides"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--topology=v9:4x4"], "--topology=v9:4x4: unknown chip v9; did you mean v"),
        (["--topology=v5e:4x5"], "try v5e:4x4"),
        (
            ["--topology=v5e:4x4", "--config.mesh.tensor=3"],
            "mesh.sequence=1 does not fit 16 devices; try mesh.replica=1",
        ),
        (["--search"], "--search: name a machine too"),
        (["--no_compile"], "--no_compile: name a machine too"),
        (["--save-target=x.txtpb"], "--save-target=x.txtpb: this machine has no GPU"),
        (["--topologie=v5e:4x4"], "did you mean --topology?"),
    ],
)
def test_what_cannot_be_planned_is_one_line_and_exit_code_2(flags, says, capsys):
    assert cli.main(["plan", "--config=configs/gpt2_124m.py", *flags]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_the_formula_loads_no_jax():
    program = (
        "import sys; from gptjax import cli; flags = ['plan', '--config=configs/gpt2_124m.py', '--topology=h100:1x8'];"
        "cli.main([*flags, '--search']); cli.main([*flags, '--no_compile']); sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_meshes_are_those_of_training():
    from gptjax import mesh

    for sizes in ((1, -1, 1, 1), (2, -1, 2, 1), (-1, 2, 1, 2)):
        over = [f"mesh.{axis}={size}" for axis, size in zip(mesh.AXES, sizes, strict=True)]
        cfg = make_config(*over)
        assert plan.resolve(cfg, 16, 1) == mesh.resolve(cfg.mesh, 16)
    with pytest.raises(BadInput, match="slices"):
        plan.resolve(make_config("mesh.data=4"), 4, 2)


@pytest.mark.parametrize("file", ["/dev/full", "/nowhere/plan.json"])
def test_a_plan_that_cannot_be_written_is_one_line(file):
    with pytest.raises(BadInput, match=f"--json={file}: No s.*; name a file"):
        plan.write(file, {"fits": True})
