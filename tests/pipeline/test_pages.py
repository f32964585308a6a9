"""The section about the run in a report's copy, and the registry's page."""

import time
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page

from flowmap.artifacts.local_store import LocalStore
from flowmap.lineage.record import find_run, last_done, original_of, run_records
from flowmap.page import END_OF_REPORT
from flowmap_pipelines.registry_page import curve, write_registry_page
from flowmap_pipelines.run_section import draw_dag, report_of, seconds_text, with_run
from tests.browser import stands_alone_and_fits
from tests.records import record

FIGURES = {
    "judge_accuracy": 0.97,
    "judge_log_probability": -0.1,
    "fd_judge": 20.0,
    "recall": 0.9,
    "diversity": 0.3,
}
READS: dict[str, dict[str, str]] = {
    "data_prep": {},
    "base_training": {"data": "data_prep"},
    "reward_training": {"data": "data_prep"},
    "grpo_finetuning": {"base": "base_training", "reward": "reward_training"},
    "evaluation": {"data": "data_prep", "base": "base_training", "tuned": "grpo_finetuning"},
    "registry_push": {"tuned": "grpo_finetuning", "evaluated": "evaluation"},
}
SHELL = """<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width">
<title>x</title>
<style>.scroll {{ overflow-x: auto; }}</style></head><body><main><h1>x</h1>{}</main></body></html>"""


def record_run(store: LocalStore, run_id: str, monkeypatch: pytest.MonkeyPatch, reused: set[str]) -> None:
    monkeypatch.setenv("FLOWMAP_RUN_ID", run_id)
    for step, sources in READS.items():
        record(
            store,
            step,
            f"artifact of {step}",
            inputs={name: f"artifact of {source}" for name, source in sources.items()},
            section={"seed": 3, "note": "<script>"},
            step_digest=f"digest of {step}",
            reused=step in reused,
            wall_s=1.0 if step in reused else 100.0,
            work_s=0.0 if step in reused else 99.0,
        )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """One run that did everything, and a later one that only evaluated and published."""
    store = LocalStore(tmp_path / "store")
    record_run(store, "20260101-000000-aaaaaa", monkeypatch, reused=set())
    record_run(
        store, "20260102-000000-bbbbbb", monkeypatch, reused=set(READS) - {"evaluation", "registry_push"}
    )
    return store


def test_the_newest_is_the_last_to_finish_whatever_its_id(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(0.01)
    record_run(store, "0b6c", monkeypatch, reused=set())
    assert find_run(store, "evaluation", "artifact of evaluation") == "0b6c"
    newest = last_done(store, "evaluation")
    assert newest is not None
    assert newest.run_id == "0b6c"


def test_a_reused_step_tells_the_run_that_did_the_work(store: LocalStore) -> None:
    records = run_records(store, "20260102-000000-bbbbbb")
    original = original_of(store, records["base_training"])
    assert (original.run_id, original.wall_s) == ("20260101-000000-aaaaaa", 100.0)
    assert original_of(store, records["evaluation"]) is records["evaluation"]
    assert find_run(store, "evaluation", "artifact of evaluation") == "20260102-000000-bbbbbb"
    assert find_run(store, "evaluation", "unknown") is None


def test_a_step_stands_right_of_what_it_reads(store: LocalStore) -> None:
    boxes, arrows, _ = draw_dag(run_records(store, "20260102-000000-bbbbbb"))
    columns = {box.name: box.x for box in boxes}
    for step, sources in READS.items():
        assert all(columns[source] < columns[step] for source in sources.values())
    assert columns["base_training"] == columns["reward_training"]
    assert len({(box.x, box.y) for box in boxes}) == len(boxes)
    assert len(arrows) == sum(map(len, READS.values()))
    assert {box.name for box in boxes if box.reused} == set(READS) - {"evaluation", "registry_push"}


@pytest.mark.parametrize("width", [380, 1200])
def test_the_report_of_a_version_gets_its_run(
    store: LocalStore, page: Page, tmp_path: Path, width: int
) -> None:
    stored = SHELL.format(END_OF_REPORT).encode()
    path = tmp_path / "report.html"
    path.write_bytes(report_of(store, stored, "artifact of evaluation"))
    stands_alone_and_fits(page, path, width, "light")
    row = page.locator("tbody tr", has_text="base_training").inner_text()
    assert "reused" in row
    assert "100.0 s" in row
    assert "20260101-000000-aaaaaa" in row
    assert report_of(store, stored, "unknown") == stored


def test_without_the_first_run_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path / "store")
    record_run(store, "20260102-000000-bbbbbb", monkeypatch, reused={"data_prep"})
    found = with_run(
        SHELL.format(END_OF_REPORT).encode(), store, run_records(store, "20260102-000000-bbbbbb")
    )
    assert b"not on record" in found


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_seconds_are_told_as_people_tell_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def judged(evaluation: str, passed: bool, **facts: Any) -> dict[str, Any]:
    criterion = {"name": "<i>recall</i>", "meaning": "", "figure": "NaN", "relation": ">=", "threshold": 0.9}
    verdict = {"against": "base", "num_evaluations": 4, "criteria": [{**criterion, "passed": passed}]}
    return {"evaluation": evaluation, "candidate": "f" * 64, "verdict": verdict, "figures": FIGURES, **facts}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200])
def test_the_registry_is_a_page(
    store: LocalStore, page: Page, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    versions = [
        judged("artifact of evaluation", True, version=1, role="base", manifest={"digest": "d" * 64})
        | {"verdict": {}},
        judged("long gone", True, version=2, role="tuned", manifest={"digest": "e" * 64}),
    ]
    versions[0] |= {"retired": {"reason": "pictures were taken back, all of those of one person <b>"}}
    versions[1] |= {"retired": None}
    models: dict[str, dict[str, Any]] = {
        "digits": {
            "versions": versions,
            "aliases": {"production": 2},
            "rejections": [judged("other", False)],
        },
        "empty": {"versions": [], "aliases": {}, "rejections": []},
    }
    write_registry_page(store, models, tmp_path / "pages" / "models.html")
    stands_alone_and_fits(page, tmp_path / "pages" / "models.html", width, scheme)
    assert "retired: pictures were taken back" in page.locator("tbody tr", has_text="digits@1").inner_text()
    text = page.locator("main").inner_text()
    assert "production is digits@2" in text
    assert "<i>recall</i>: nan, wanted >= 0.9" in text
    assert "No version yet" in text
    first = page.locator("tbody tr").first.inner_text()
    assert first.startswith("digits@2")
    assert "nothing: a base" in page.locator("tbody tr").nth(1).inner_text()
    assert page.locator("svg").count() == len(FIGURES)


def test_a_curve_is_drawn_in_its_own_range() -> None:
    drawn = curve("recall", [(1, 0.5), (2, 1.0), (3, 0.75)])
    assert drawn.points == ((6.0, 54.0), (110.0, 6.0), (214.0, 30.0))
    assert curve("recall", [(1, 0.5), (2, 0.5)]).points == ((6.0, 30.0), (214.0, 30.0))
    assert curve("recall", []).points == ()
