"""JobSets are held against the real definition; what Kubernetes would drop or misread in silence is caught here."""

import copy
import json
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml

from launch import batch, engines, jobset, sweep
from launch.sweep import Base
from launch.table import State
from tests.launch.golden.make import CASES, SWEEP
from tests.launch.golden.make_schema import schema_of

DEFINITION = pathlib.Path(os.environ.get("GPTJAX_TEST_DATA", "nowhere"), "jobset_crd.yaml")


def manifest(case: str) -> dict:
    _, runs, settings = CASES[case]
    trial = sweep.trials(SWEEP, Base(SWEEP), "question")[0]
    made = batch.Batch("question-0123abcd", batch.place(runs, "question"), SWEEP.config, [trial], 3, "eval/nll")
    ((_, text),) = jobset.render(made, engines.settings("jobset", settings)).items()
    return yaml.safe_load(text)


SOUND = manifest("jobset_slice")


def group(made: dict) -> dict:
    return made["spec"]["replicatedJobs"][0]


def job(made: dict) -> dict:
    return group(made)["template"]["spec"]


def exit_codes(made: dict) -> dict:
    return job(made)["podFailurePolicy"]["rules"][0]["onExitCodes"]


def pod(made: dict) -> dict:
    return job(made)["template"]["spec"]


def container(made: dict) -> dict:
    return pod(made)["containers"][0]


PLANTED: list[tuple[str, Callable[[dict], object]]] = [
    ("metadata/name: is missing", lambda m: m["metadata"].pop("name")),
    ("metadata/name: must be a DNS label", lambda m: m["metadata"].update(name="Trial_1")),
    ("metadata/name: must be a DNS label", lambda m: m["metadata"].update(name="x" * 46)),
    ("metadata/label: there is no such field; did you mean labels?", lambda m: m["metadata"].update(label={})),
    ("metadata/labels/a: 3 is no string", lambda m: m["metadata"]["labels"].update(a=3)),
    ("apiVersion:", lambda m: m.update(apiVersion="jobset.x-k8s.io/v1alpha3")),
    ("kind:", lambda m: m.update(kind="Job")),
    ("spec: is missing", lambda m: m.pop("spec")),
    ("specs: there is no such field; did you mean spec?", lambda m: m.update(specs={})),
    ("spec/failurePolice", lambda m: m["spec"].update(failurePolice=m["spec"].pop("failurePolicy"))),
    ("maxRestarts: 'ten' is no integer", lambda m: m["spec"]["failurePolicy"].update(maxRestarts="ten")),
    ("maxRestarts: 4294967296 does not fit int32", lambda m: m["spec"]["failurePolicy"].update(maxRestarts=2**32)),
    ("action: 'Retry' does not keep to enum", lambda m: m["spec"]["failurePolicy"]["rules"][0].update(action="Retry")),
    ("rules/0/action: is missing", lambda m: m["spec"]["failurePolicy"]["rules"][0].pop("action")),
    ("onJobFailureReason:", lambda m: m["spec"]["failurePolicy"]["rules"][0].update(onJobFailureReason=["x"])),
    ("replicatedJobs: {} is no array", lambda m: m["spec"].update(replicatedJobs={})),
    ("replicatedJobs/0/name: is missing", lambda m: group(m).pop("name")),
    ("replicatedJobs: ('slice',) stands there twice", lambda m: m["spec"]["replicatedJobs"].append(group(m))),
    ("replicas: '2' is no integer", lambda m: group(m).update(replicas="2")),
    ("template: is missing", lambda m: group(m).pop("template")),
    ("paralelism: there is no such field; did you mean parallelism?", lambda m: job(m).update(paralelism=4)),
    ("completions: 4.0 is no integer", lambda m: job(m).update(completions=4.0)),
    ("backoffLimit: True is no integer", lambda m: job(m).update(backoffLimit=True)),
    ("podFailurePolicy/rules: is missing", lambda m: job(m)["podFailurePolicy"].pop("rules")),
    ("operator: is missing", lambda m: exit_codes(m).pop("operator")),
    ("values/0: '2' is no integer", lambda m: exit_codes(m).update(values=["2"])),
    ("restartpolicy: there is no such field; did you mean restartPolicy?", lambda m: pod(m).update(restartpolicy="no")),
    ("PeriodSeconds: '300' is no integer", lambda m: pod(m).update(terminationGracePeriodSeconds="300")),
    ("gke-spot: True is no string", lambda m: pod(m)["nodeSelector"].update({"cloud.google.com/gke-spot": True})),
    ("containers: is missing", lambda m: pod(m).pop("containers")),
    ("containers/0/name: is missing", lambda m: container(m).pop("name")),
    ("args/0: 7 is no string", lambda m: container(m).update(args=[7])),
    ("command: 'bash' is no array", lambda m: container(m).update(command="bash")),
    ("env/0/value: 4 is no string", lambda m: container(m)["env"][0].update(value=4)),
    ("env: ('SLICE',) stands there twice", lambda m: container(m)["env"].append({"name": "SLICE"})),
    ("env/0/name: is missing", lambda m: container(m)["env"][0].pop("name")),
    ("ports/0/containerPort: is missing", lambda m: container(m)["ports"][0].pop("containerPort")),
    ("limits/x: 4.5 is neither", lambda m: container(m)["resources"]["limits"].update(x=4.5)),
    ("resources/limit: there is no such field; did you", lambda m: container(m)["resources"].update(limit={})),
]  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("jobset")])
def test_what_is_rendered_is_allowed(case):
    assert jobset.faults(manifest(case)) == []


@pytest.mark.parametrize(("says", "plant"), PLANTED)
def test_a_planted_error_is_caught_and_named(says, plant):
    made = copy.deepcopy(SOUND)
    plant(made)
    found = jobset.faults(made)
    assert len(found) == 1 and says in found[0], found


def closed(node: Any) -> Any:
    """The schema with every object closed to what it does not name, as jsonschema says it."""
    if isinstance(node, list):
        return [closed(value) for value in node]
    if not isinstance(node, dict):
        return node
    made = {key: closed(value) for key, value in node.items() if key != "format"}
    if isinstance(node.get("type"), str) and node["type"] == "object" and "properties" in node:
        made.setdefault("additionalProperties", False)
    if node.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    return made


OURS_ALONE = ("DNS label", "stands there twice", "does not fit int32")  # which a JSON schema does not say


def test_another_validator_says_the_same():
    """jsonschema, on the same definition: nothing that it refuses passes here, and the other way round."""
    judge = jsonschema.Draft202012Validator(closed(jobset.schema()))
    assert judge.is_valid(SOUND)
    agreed = 0
    for says, plant in PLANTED:
        made = copy.deepcopy(SOUND)
        plant(made)
        if not any(words in says for words in OURS_ALONE) and "4.0" not in says:  # to JSON 4.0 is a whole number
            assert not judge.is_valid(made), says
            agreed += 1
    assert agreed >= 30


@pytest.mark.skipif(not DEFINITION.exists(), reason="needs JobSet's definition in GPTJAX_TEST_DATA")
def test_the_schema_is_the_real_definition_without_its_prose():
    assert jobset.schema() == schema_of(yaml.safe_load(DEFINITION.read_text()))


KUBECTL = """#!/bin/bash
echo "$*" >> "$TOLD"
[ "$1" = create ] && cat >> "$TOLD"
[ "$1" = get ] && cat "$ITEMS"
exit "${CODE:-0}"
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch) -> pathlib.Path:
    """A kubectl that writes down what it was told, and shows `items`."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("ITEMS", str(tmp_path / "items"))
    return tmp_path


def test_kubectl_is_told_to_create_ask_and_delete(kubectl):
    settings = engines.settings("jobset", CASES["jobset_slice"][2])
    place = batch.place("gs://bucket/runs", "question")
    trials = sweep.trials(SWEEP, Base(SWEEP), "question")
    made = batch.Batch("question-0123abcd", place, SWEEP.config, trials, 3, "eval/nll")
    jobs = jobset.submit(made, settings, lambda trial: trial is trials[0])
    assert jobs == {trials[0].id: f"gptjax-{trials[0].id}-0123abcd"}
    first, _, text = (kubectl / "told").read_text().partition("\n")
    assert first == "create --validate=strict -f -" and yaml.safe_load(text) == manifest("jobset_slice")

    on = lambda kind: {"status": {"conditions": [{"type": kind, "status": "True"}]}}
    names = {one: f"gptjax-{one}-0123abcd" for one in ("runs", "done", "failed", "new", "lost", "restarts")}
    shown = {"runs": {}, "done": on("Completed"), "failed": on("Failed"), "restarts": on("StartupPolicyCompleted")}
    items = [{"metadata": {"name": names[one]}, **status} for one, status in shown.items()]
    (kubectl / "items").write_text(json.dumps({"items": items}))
    live = {one: State(state="queued", batch=made.name, at=time.time()) for one in names}
    live["new"] = State(state="submitted", batch=made.name, at=time.time())
    assert jobset.states(live, place, settings) == {
        "runs": "alive", "done": "gone", "failed": "gone", "new": "unknown", "lost": "gone", "restarts": "alive"
    }  # fmt: skip
    jobset.cancel({"runs": live["runs"]}, place, settings)
    assert (kubectl / "told").read_text().splitlines()[-1] == (
        "delete jobsets -n lab --ignore-not-found --wait=false gptjax-runs-0123abcd"
    )
