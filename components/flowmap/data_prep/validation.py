"""Great Expectations on the table of data; the suite is `expectations.json` beside this file, for series
`expectations_series.json`, for prompts without data `expectations_prompts.json`, for pictures with captions
of their own `expectations_captioned.json`.

Pixels are no table, so what is checked is one row an image: id, digest, shape, label, prompt, min, max,
mean, split.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flowmap.errors import ConfigError, DataError
from flowmap.settings.data import Expectation

SUITE = Path(__file__).with_name("expectations.json")
_SUITES = {
    kind: SUITE.with_name(f"expectations_{kind}.json") for kind in ("series", "prompts", "captioned")
}  # of other tables
_OURS = {"captioned": "data_prep.captioned.expectations"}  # where users write theirs
_NUM_IDS = 10


def validate(
    table: pd.DataFrame, kind: str = "images", more: Sequence[Expectation] | None = None
) -> tuple[dict[str, Any], ...]:
    """Check `table` against the suite.

    Args:
        more: what the user expects besides.

    Returns:
        One row an expectation: its name, its column, and how many rows it looked at.

    Raises:
        DataError: naming each failed expectation, how many rows fail it, and the ids of the first ten.
    """
    rows, failures = [], []
    suite, setting = _SUITES.get(kind, SUITE), _OURS.get(kind, "data_prep.expectations")
    expected = [*json.loads(suite.read_text()), *(each.model_dump() for each in more or ())]
    for outcome in _run_suite(table, expected, setting)["results"]:
        configuration = outcome["expectation_config"]
        kwargs = configuration["kwargs"]
        column = kwargs.get("column") or ", ".join(kwargs.get("column_list", ())) or "table"
        what = f"{configuration['type']}({column})"
        if raised := _exception(outcome["exception_info"]):
            failures.append(f"{what} could not be checked: {raised}")
        elif not outcome["success"]:
            failures.append(f"{what} {_failure(outcome['result'], len(table))}")
        rows.append(
            {"expectation": configuration["type"], "column": kwargs.get("column"), "num_rows": len(table)}
        )
    if failures:
        lines = "".join(f"\n  {failure}" for failure in failures)
        whose = f"{suite.name} and {setting}" if more else suite.name
        raise DataError(f"the data fail {len(failures)} of {len(rows)} expectations of {whose}:{lines}")
    return tuple(rows)


def _failure(figures: dict[str, Any], num_rows: int) -> str:
    ids = [row["id"] for row in figures.get("unexpected_index_list") or []]
    if not ids:
        return f"failed: observed {figures.get('observed_value')}"
    more = ", ..." if len(ids) > _NUM_IDS else ""
    return f"failed for {len(ids)} of {num_rows} images: {', '.join(map(str, ids[:_NUM_IDS]))}{more}"


def _run_suite(table: pd.DataFrame, expected: list[dict[str, Any]], setting: str) -> dict[str, Any]:
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("images").add_dataframe_asset("table")
        suite = context.suites.add(_suite(expected, setting))
        definition = gx.ValidationDefinition(
            name="images", data=asset.add_batch_definition_whole_dataframe("all"), suite=suite
        )
        outcome = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": table},
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]},
        )
    found: dict[str, Any] = outcome.to_json_dict()
    return found


def _suite(expected: list[dict[str, Any]], setting: str) -> Any:
    """Raises ConfigError where one of them is none of Great Expectations', or lacks an argument."""
    import great_expectations as gx

    suite = gx.ExpectationSuite(name="images", expectations=[])
    for each in expected:
        try:
            suite.add_expectation(gx.ExpectationSuite(name="one", expectations=[each]).expectations[0])
        except Exception as error:  # of whatever kind its many parts raise
            told = " ".join(str(error).split())[:300]
            raise ConfigError(f"{setting}: {each['type']}: {told}") from None
    return suite


def _exception(info: dict[str, Any]) -> str | None:
    """The message in an `exception_info`, which is one dictionary, or one for each metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next(
        (str(entry["exception_message"]) for entry in entries if entry.get("raised_exception")), None
    )
