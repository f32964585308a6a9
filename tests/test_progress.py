"""What `say` and `Progress` print where no terminal is."""

import json

import pytest

from flowmap.progress import Progress, say


def test_a_line_is_for_people_unless_json_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWMAP_RUN_ID", "r1")
    monkeypatch.setenv("FLOWMAP_STEP", "evaluation")
    monkeypatch.delenv("FLOWMAP_STEP_DIGEST", raising=False)
    say("zwölf: starting")
    monkeypatch.setenv("FLOWMAP_LOG_FORMAT", "json")
    say("zwölf: starting")
    plain, structured = capsys.readouterr().err.splitlines()
    assert plain == "zwölf: starting"
    line = json.loads(structured)
    assert line.pop("time").endswith("+00:00")
    assert line == {"run": "r1", "step": "evaluation", "log": "zwölf: starting"}


def test_progress_ends_with_a_line_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FLOWMAP_TERMINAL", raising=False)
    with Progress("training", total=3) as progress:
        for _ in range(3):
            progress.update(loss=0.5)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("training  3/3 ")
    assert line.endswith("loss 0.5")
