"""What `gptjax train` loads before its first step."""

import subprocess
import sys

NOT_EVERY_RUN = (  # needs these: each is imported where it is used
    "array_record", "grain", "matplotlib", "pyarrow", "safetensors", "sentencepiece", "tensorboardX",
    "tensorflow_datasets", "tokenizers", "trackio", "wandb",
)  # fmt: skip


def test_training_loads_no_package_that_only_some_runs_use():
    program = "import sys, gptjax.commands.train\nprint(*sorted(set(sys.argv) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program, *NOT_EVERY_RUN], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
