"""Nothing that a whole run leaves holds a secret of its environment."""

from pathlib import Path

from tests.pipeline.conftest import SECRETS
from tests.pipeline.runs import Finished


def test_no_log_record_report_or_metric_holds_one(first_run: Path, first: Finished) -> None:
    files = [path for path in first_run.rglob("*") if path.is_file()]
    assert {"finished.json", "store", "logs", "reports"} <= {
        part for path in files for part in path.relative_to(first_run).parts
    }
    for path in files:
        data = path.read_bytes()
        found = [name for name, secret in SECRETS.items() if secret.encode() in data]
        assert not found, f"{path.relative_to(first_run)} holds {found}"
