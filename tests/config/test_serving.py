"""Settings of the server that cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audiocraft.cli.main import main
from audiocraft.config.serving import LeaseSettings, QueueLimits, ServingConfig, UploadLimits
from audiocraft.errors import ConfigError


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            {"lease": replace(LeaseSettings(), drain_seconds=-1)},
            "lease.drain_seconds must be 0 or more, got -1",
        ),
        ({"lease": replace(LeaseSettings(), rows=0)}, "lease.rows must be more than 0, got 0"),
        ({"upload": replace(UploadLimits(), seconds=float("nan"))}, "upload.seconds must be more than 0"),
        ({"max_model_bytes": 0}, "max_model_bytes must be more than 0"),
        ({"worker_nice": -3}, "worker_nice must be 0 or more"),
    ],
)
def test_numbers_that_cannot_be_are_named(part: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ServingConfig(**part)  # type: ignore[arg-type]


def test_nothing_is_something_for_some() -> None:
    found = ServingConfig(
        port=0, workers=0, lease=LeaseSettings(drain_seconds=0), queue=QueueLimits(min_free_bytes=0)
    )
    assert found.lease.drain_seconds == 0


def test_a_worker_says_it_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", "--drain", "-1", "--database", "sqlite:///x.db"]) == 2
    assert "lease.drain_seconds must be 0 or more" in capsys.readouterr().err
