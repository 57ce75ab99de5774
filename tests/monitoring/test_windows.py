from datetime import UTC, datetime, timedelta

from monitoring.windows import is_apart, window_ends, window_start

TIMES = [datetime(2007, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(40)]


def test_without_a_span_only_the_newest_window_is_judged_first():
    assert window_ends(TIMES, 21, 5) == [TIMES[39]]


def test_after_a_judged_window_the_next_ends_follow_by_steps():
    assert window_ends(TIMES, 21, 5, last_end=TIMES[24]) == [TIMES[29], TIMES[34], TIMES[39]]
    assert window_ends(TIMES, 21, 5, last_end=TIMES[36]) == []


def test_a_span_is_judged_from_its_first_whole_window():
    assert window_ends(TIMES, 21, 5, start=TIMES[0]) == [TIMES[i] for i in (20, 25, 30, 35)]
    assert window_ends(TIMES, 21, 5, start=TIMES[26], end=TIMES[32]) == [TIMES[26], TIMES[31]]


def test_repeating_a_span_finds_the_same_windows_whatever_was_judged():
    again = window_ends(TIMES, 21, 5, start=TIMES[0], last_end=TIMES[35])
    assert again == window_ends(TIMES, 21, 5, start=TIMES[0])


def test_a_short_log_has_no_window():
    assert window_ends(TIMES[:20], 21, 5) == []


def test_a_window_holds_its_length_of_bar_times_both_ends_included():
    assert window_start(TIMES, 21, TIMES[30]) == TIMES[10]


def test_windows_are_apart_when_they_share_less_than_half():
    found = [is_apart(TIMES, 21, TIMES[20], TIMES[20 + n]) for n in (5, 10, 11, 15, 19)]
    assert found == [False, False, True, True, True]
    assert not is_apart(TIMES, 20, TIMES[20], TIMES[30])
    assert is_apart(TIMES, 20, TIMES[20], TIMES[31])


def test_bar_times_that_are_no_longer_logged_change_nothing():
    assert is_apart(TIMES[25:], 21, TIMES[20], TIMES[36])
    assert not is_apart(TIMES[25:], 21, TIMES[20], TIMES[30])
