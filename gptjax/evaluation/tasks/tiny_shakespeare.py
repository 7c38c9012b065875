"""The rest of a speech of Shakespeare after its first line, in the held-out last tenth of the TFDS set."""

from gptjax.evaluation import known
from gptjax.evaluation.task import Question, Task


def speeches(splits: tuple[str, ...]) -> list[Question]:
    texts = [row["text"] for split in splits for row in known.rows("tiny_shakespeare", split, ["text"])]
    found = []
    for speech in "".join(texts).split("\n\n"):
        speaker, _, said = speech.strip().partition("\n")
        first, _, rest = said.partition("\n")
        if speaker.endswith(":") and len(rest) >= 40:
            found.append(Question(f"{speaker}\n{first}\n", (rest,)))
    return found


TASK = Task(
    "tiny_shakespeare",
    "cloze",
    lambda: speeches(("validation", "test")),
    lambda: speeches(("train",)),
    metrics=("bits_per_byte", "loss", "perplexity"),
)
