"""The figures of the hot path's benchmark."""

import os

from benchmarks.hot_path import cpu_s, table


def test_the_table_has_median_and_extremes() -> None:
    lines = table({"server": [30.4, 50.0, 29.6], "logged": [200.0]})
    assert lines[2].endswith("| 30 (30 to 50) |") and "server alone" in lines[2]
    assert lines[3].endswith("| 200 (200 to 200) |")


def test_the_time_of_a_process_only_grows() -> None:
    before = cpu_s(os.getpid())
    sum(range(2_000_000))
    assert cpu_s(os.getpid()) >= before > 0
