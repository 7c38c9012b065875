"""Tasks that ship and tasks of a user: the same questions each time, and shots that are none of them."""

import json

import pytest

from gptjax.config import BadInput
from gptjax.evaluation import library, task
from gptjax.evaluation.task import Question, Task

KNOWN = {  # a row of each set as TFDS has it, and the question it becomes
    "hellaswag": (
        "hellaswag/validation",
        {"activity_label": "Sums", "context": "Add [step] one", "endings": ["to two.", "up."], "label": 1},
        Question("Sums: Add one", (" to two.", " up."), 1),
    ),
    "piqa": (
        "piqa/validation",
        {"goal": "Count", "sol1": "up", "sol2": "down", "label": 0},
        Question("Question: Count\nAnswer:", (" up", " down"), 0),
    ),
    "arc_easy": (
        "ai2_arc/ARC-Easy/test",
        {"question": "Why?", "choices": {"text": ["so", "no", "yes"], "label": [0, 1, 2]}, "answerKey": 2},
        Question("Question: Why?\nAnswer:", (" so", " no", " yes"), 2),
    ),
    "winogrande": (
        "winogrande/validation",
        {"sentence": "Ann and Bo ate as _ was hungry.", "option1": "Ann", "option2": "Bo", "label": 1},
        Question("Ann and Bo ate as", (" Ann was hungry.", " Bo was hungry."), 1),
    ),
    "lambada": ("lambada/test", {"passage": "one two three\n"}, Question("one two", (" three",))),
    "samsum": (
        "samsum/test",
        {"dialogue": "Ann: hi\nBo: bye", "summary": "They meet."},
        Question("Ann: hi\nBo: bye\n\nSummary:", (" They meet.",)),
    ),
}
ELSEWHERE = (*KNOWN, "tiny_shakespeare")  # their questions are in files that not every machine has
HERE = sorted(set(task.shipped()) - set(ELSEWHERE))


def test_sixteen_ship_and_eight_of_them_run_anywhere():
    assert len(task.shipped()) == 16 and len(HERE) >= 8
    for file in task.FOLDER.glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file


@pytest.mark.parametrize("name", HERE)
def test_questions_are_the_same_each_time_and_no_shot_is_one_of_them(name):
    (one,), (again,) = task.load([name]), task.load([name])
    questions = task.opened(one)
    assert questions == task.opened(again) and len(set(questions)) == len(questions) >= 19
    assert one.name == name
    if one.shots is not None:
        shots = task.drawn_shots(one, questions, 5)
        assert shots == task.drawn_shots(again, task.opened(again, limit=3), 5) and len(set(shots)) == 5
        assert not {shot.prompt for shot in one.shots()} & {question.prompt for question in questions}
    for baseline in one.baselines.values():
        assert len(baseline(questions)) == len(questions)


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_set_is_read_from_lines_where_there_are_some(name, tmp_path, monkeypatch):
    file, row, expected = KNOWN[name]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (one,) = task.load([name])
    with pytest.raises(BadInput, match=f"{file}.jsonl with the fields"):
        task.opened(one)
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / f"{file}.jsonl").write_text(json.dumps(row) + "\n")
    assert task.opened(one) == [expected]
    (tmp_path / f"{file}.jsonl").write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(BadInput, match="line 1: no field"):
        task.opened(one)


def test_what_is_asked_of_the_library_stands_in_files_that_the_corpus_holds_out():
    trained_on = {name for name, _ in library.documents("train")}
    texts = "\n".join(text for _, text in library.documents("train"))
    functions = library.functions("valid", 200)
    assert not {function.where.rpartition(":")[0] for function in functions} & trained_on
    seen = [function for function in functions if len(function.body) > 4 and "\n".join(function.body[:4]) in texts]
    assert len(seen) <= 0.02 * len(functions)  # idioms of four lines


def test_shots_stand_before_a_question_each_with_its_right_answer():
    shots = [Question("1 + 1 =", (" 3", " 2"), 1), Question("2 + 2 =", (" 4", " 5"), 0)]
    assert task.with_shots(Question("3 + 3 =", (" 6", " 7")), shots) == "1 + 1 = 2\n\n2 + 2 = 4\n\n3 + 3 ="
    assert task.with_shots(Question("alone", (" x",)), []) == "alone"


def test_a_shot_that_is_asked_is_not_shown():
    pool = [Question(f"q{n}", (" a",)) for n in range(5)]
    one = Task("t", "cloze", lambda: pool[:2], lambda: pool)
    assert {shot.prompt for shot in task.drawn_shots(one, pool[:2], 3)} == {"q2", "q3", "q4"}
    with pytest.raises(BadInput, match="task t has 3 examples to show; try 3"):
        task.drawn_shots(one, pool[:2], 4)


def test_a_file_of_a_user_may_define_several(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from gptjax.evaluation.task import Question, Task\n"
        "ask = lambda: [Question('a', (' b',))]\n"
        "TASKS = Task('one', 'cloze', ask), Task('two', 'generate', ask)\n"
    )
    assert [one.name for one in task.load([str(file)])] == ["one", "two"]
    with pytest.raises(BadInput, match="two tasks are called 'one'"):
        task.load([str(file), str(file)])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (dict(kind="choise"), "no kind 'choise'; did you mean 'choice'"),
        (dict(kind="cloze", metrics=("acuracy",)), "no metric 'acuracy'; did you mean 'accuracy'"),
        (dict(kind="cloze", metrics=("bleu",)), "no metric 'bleu'"),
        (dict(kind="cloze", n_shots=2), "n_shots=2, but the task has no shots"),
    ],
)
def test_a_task_that_cannot_be_is_refused(fields, says):
    with pytest.raises(BadInput, match=says):
        Task("t", questions=lambda: [], **fields)


@pytest.mark.parametrize(
    ("kind", "question", "says"),
    [
        ("choice", Question("a", (" b",)), "right=0, of 1 choices"),
        ("choice", Question("a", (" b", " c"), 2), "right=2, of 2 choices"),
        ("cloze", Question("a", (" b", " c")), "a cloze has one answer, not 2"),
        ("generate", Question("a", ()), "needs answers"),
        ("generate", Question("a", ("",)), "needs answers"),
    ],
)
def test_a_question_that_cannot_be_is_refused(kind, question, says):
    with pytest.raises(BadInput, match=says):
        task.opened(Task("t", kind, lambda: [Question("fine", (" x", " y")[: 1 + (kind == "choice")]), question]))
