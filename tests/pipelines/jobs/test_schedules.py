from datetime import UTC, datetime, timedelta

import pytest

from pipelines.jobs import schedules

LATER = timedelta(minutes=10)
ENGINES = ["engine", pytest.param("postgres_engine", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES, ids=["sqlite", "postgresql"])
def engine(request):
    return request.getfixturevalue(request.param)


def test_a_schedule_is_due_after_its_interval_and_one_claim_wins(engine):
    now = datetime.now(UTC)
    schedules.keep(engine, "drift", 60, now=now)
    schedules.keep(engine, "drift", 60, now=now + timedelta(seconds=50))  # a restart delays nothing
    assert schedules.claim_due(engine, now=now + timedelta(seconds=59)) == []
    late = now + timedelta(seconds=1000)
    assert schedules.claim_due(engine, now=late) == ["drift"]
    assert schedules.claim_due(engine, now=late + timedelta(seconds=59)) == []
    schedules.keep(engine, "drift", 0)
    assert schedules.claim_due(engine, now=late + LATER) == []
