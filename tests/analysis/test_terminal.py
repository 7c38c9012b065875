"""The tables of `gptjax analyze` on a narrow terminal."""

from gptjax.commands.analyze_text import Sheet, fitted

HEAD = ["run", "seed", "model.d_model", "model.n_heads", "optim.peak_lr", "step", "tokens", "final eval/nll", "status"]
ROWS = [
    [f"run-{width}-{rate}-{seed}", str(seed), str(width), str(width // 16), str(rate), "200", "819,200", "2.3", "done"]
    for width in (32, 64)
    for rate in (1e-3, 3e-3)
    for seed in (0, 1)
]
KEYS = HEAD[1:5]


def test_a_wide_terminal_shows_all():
    assert fitted(Sheet(HEAD, ROWS), 120, KEYS) == (Sheet(HEAD, ROWS), [])


def test_a_key_that_another_tells_goes_before_one_that_tells_more():
    sheet, dropped = fitted(Sheet(HEAD, ROWS), 64, KEYS)
    assert dropped == ["tokens", "step", "model.n_heads"]
    assert sheet.head == ["run", "seed", "model.d_model", "optim.peak_lr", "final eval/nll", "status"]
    assert all(len(row) == len(sheet.head) for row in sheet.rows)


def test_the_run_the_metric_and_the_status_stay_however_narrow():
    sheet, dropped = fitted(Sheet(HEAD, ROWS), 10, KEYS)
    assert sheet.head == ["run", "final eval/nll", "status"] and set(KEYS) < set(dropped)
