"""Every trigger keeps the guarantees of `monitoring.triggers`."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitoring.reports import DriftReport
from monitoring.settings import MonitoringSettings
from monitoring.triggers import TRIGGERS, Level, VersionReports

NOW = datetime(2008, 1, 1, tzinfo=UTC)
SETTINGS = MonitoringSettings(retrain_floor_days=30)


def make_report(verdict: str) -> DriftReport:
    share = 0.9 if verdict in ("drift", "no_drift") else None
    facts = {"fell": True, "excess": 1.0, "expected_excess": 0.0}
    start = NOW - timedelta(days=21)
    return DriftReport("m", 1, start, NOW, 63, verdict, share, {}, {}, facts, None, NOW)


def see(*verdicts: str) -> VersionReports:
    found = [make_report(verdict) for verdict in verdicts]
    return VersionReports("m", 1, NOW - timedelta(days=400), NOW, found)


@pytest.fixture(params=list(TRIGGERS))
def trigger(request):
    return TRIGGERS.get(request.param)


def test_its_name_is_its_catalog_name(trigger):
    assert TRIGGERS.get(trigger.name) is trigger


def test_it_is_calm_without_reports(trigger):
    assert trigger.judge(see(), SETTINGS).level is Level.CALM


@pytest.mark.parametrize("verdict", ["bad_data", "no_verdict"])
def test_windows_that_were_not_judged_never_count(trigger, verdict):
    assert trigger.judge(see(*[verdict] * 9), SETTINGS).level is Level.CALM


def test_it_is_pure_and_gives_a_reason_in_one_line(trigger):
    seen = see("drift", "no_drift", "no_verdict", "bad_data", "drift")
    finding = trigger.judge(seen, SETTINGS)
    assert finding == trigger.judge(seen, SETTINGS)
    assert finding.reason and "\n" not in finding.reason


def test_it_can_be_confirmed(trigger):
    assert trigger.judge(see("drift", "drift"), SETTINGS).level is Level.CONFIRMED


def test_it_needs_no_particular_facts(trigger):
    bare = [replace(make_report("no_verdict"), performance={})]
    trigger.judge(replace(see(), reports=bare), SETTINGS)
