"""Writes the small logs beside this file, as the programs named write them; `python -m tests.analysis.golden.make`.

- `tensorboard/`: by tensorboardX, and by TensorBoard's own writer with a scalar as a tensor, as TensorFlow 2 writes it.
- `wandb_*`: the columns of W&B's exports (docs.wandb.ai, "Export data"): `run.history()` as pandas writes it in CSV and
  JSON, `run.scan_history()` as lines, and the CSV of a chart. Not read from an account: the numbers are made here.
- `maxtext.jsonl`: the keys that MaxText's metric_logger.py writes to `metrics_file`, one object a step; made here.
- `levanter.log`: the events of Levanter's json_logger.py under a usual logging format; made here.
- `nanogpt.txt` was printed by nanoGPT's own train.py (see the first lines of the file); it is not made here.
"""

import csv
import importlib
import json
import math
import pathlib

HERE = pathlib.Path(__file__).parent
STEPS = range(6)
BATCH = 2048  # tokens


def loss(step: int) -> float:
    return round(2.0 + 3.0 / (1 + step), 4)


def rate(step: int) -> float:
    return round(1e-3 * min(1.0, (step + 1) / 4), 6)


def tensorboard() -> None:
    import tensorboardX
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    event, summary, tensors = (
        importlib.import_module(f"tensorboard.compat.proto.{name}_pb2") for name in ("event", "summary", "tensor")
    )
    folder = HERE / "tensorboard"
    with tensorboardX.SummaryWriter(str(folder), filename_suffix=".x") as writer:
        for step in STEPS:
            writer.add_scalar("learning/loss", loss(step), step, walltime=1_760_000_000.0 + step)
        writer.add_text("note", "a text is no number", 0)
    writer = EventFileWriter(str(folder), filename_suffix=".tensor")
    for step in STEPS:
        tensor = tensors.TensorProto(dtype=1, float_val=[rate(step)])
        value = summary.Summary.Value(tag="learning/current_learning_rate", tensor=tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        told = summary.Summary(value=[value])
        writer.add_event(event.Event(step=step, wall_time=1_760_000_000.5 + step, summary=told))
    writer.close()
    for file in list(folder.glob("events.*")):  # whose names are of this host and time
        file.rename(folder / f"events.out.tfevents.1{file.suffix}")


def history() -> list[dict]:
    own = [{"_step": step, "_runtime": 1.5 * step, "_timestamp": 1_760_000_000.0 + 1.5 * step} for step in STEPS]
    told = [{"train/loss": loss(step), "lr": rate(step)} for step in STEPS]
    evals = [{"val/loss": loss(step) + 0.1} if step % 3 == 0 else {"val/loss": None} for step in STEPS]
    return [{**a, **b, **c} for a, b, c in zip(own, told, evals, strict=True)]


def wandb() -> None:
    rows = history()
    with open(HERE / "wandb_history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["", *rows[0]])
        writer.writeheader()
        writer.writerows({"": number, **row} for number, row in enumerate(rows))
    columns = {key: {str(at): row[key] for at, row in enumerate(rows)} for key in rows[0]}
    (HERE / "wandb_history.json").write_text(json.dumps(columns))
    whole = [{key: value for key, value in row.items() if value is not None} for row in rows]
    (HERE / "wandb_scan.jsonl").write_text("".join(json.dumps(row) + "\n" for row in whole))
    with open(HERE / "wandb_chart.csv", "w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        parts = ("", "__MIN", "__MAX")
        names = [f"{run} - {metric}" for run in ("calm-sun-1", "wild-sea - 2") for metric in ("_step", "train/loss")]
        writer.writerow(["Step", *(name + part for name in names for part in parts)])
        for step in STEPS:
            second = loss(step) + 1 if step % 2 == 0 else ""
            writer.writerow([step, *[step] * 3, *[loss(step)] * 3, *[step] * 3, *[second] * 3])


def maxtext() -> None:
    rows = []
    for step in STEPS:
        told = {"learning/loss": loss(step), "learning/raw_grad_norm": 2.0, "learning/grad_norm": 1.0}
        told |= {"learning/total_weights": float(BATCH), "learning/current_learning_rate": rate(step)}
        told |= {"perf/step_time_seconds": 0.5, "perf/per_device_tokens_per_sec": 4096.0}
        rows.append({**told, "step": float(step), "run_name": "base"})
    rows.append({"eval/total_loss": 9216.0, "eval/avg_loss": 2.6, "step": 5.0, "run_name": "base"})
    (HERE / "maxtext.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def levanter() -> None:
    event = lambda **more: json.dumps({"tracker": "json_logger", **more})
    told = [event(event="hparams", hparams={"optimizer": {"learning_rate": 0.001}, "seed": 3})]
    for step in STEPS:
        metrics = {"train/loss": loss(step) if step < 5 else math.nan, "global_step": step}
        told.append(event(event="log", step=step, metrics=metrics))
        told.append(event(event="log", step=step, metrics={"optim": {"learning_rate": rate(step)}}))
        speed = {
            "throughput/total_tokens": BATCH * (step + 1),
            "throughput/mfu": 40.0,
            "throughput/tokens_per_second": 1e4,
        }
        told.append(event(event="log", step=step, metrics=speed))
    told.append(event(event="log", step=5, metrics={"eval/loss": 2.6, "eval/bpb": 1.1}))
    told.append(event(event="finish", summary={"eval/loss": 2.6}))
    lines = [
        f"2025-10-09T08:53:2{n % 10} - 0 - levanter.json_logger - json_logger.py:60 - INFO :: {one}"
        for n, one in enumerate(told)
    ]
    lines.insert(3, "2025-10-09T08:53:21 - 0 - levanter.main - train_lm.py:1 - INFO :: First batch loaded")
    (HERE / "levanter.log").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    for make in (tensorboard, wandb, maxtext, levanter):
        make()
