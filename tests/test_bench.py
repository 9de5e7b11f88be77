"""The benchmark's bookkeeping; what it measures is not for a test."""

import json

import numpy as np
import pytest

from sgdlimit.bench import Row, _against_product, table


def test_rows_stand_beside_their_limit_in_text_and_json(tmp_path):
    rows = [Row("a run", 0.6, "bare product", 0.5), Row("a theory", 0.02, "", np.nan)]
    text = table(rows, tmp_path / "rows.json")
    assert text.splitlines()[1].split() == ["a", "run", "0.6000", "0.5000", "1.200", "bare", "product"]
    stored = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert stored["rows"][0]["ratio"] == pytest.approx(1.2)
    assert stored["machine"]["cores"] >= 1


def test_a_ratio_is_that_of_the_times_around_it(monkeypatch):
    """A machine that halves its speed between two calls leaves the ratio as it was."""
    clock = iter([0, 1, 10, 12])  # two counted calls, of 1 and 2 seconds
    limits = iter([0.5, 0.5, 1.5])  # the bare product before, between and after
    monkeypatch.setattr("sgdlimit.bench.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr("sgdlimit.bench._bare_product", lambda: next(limits))
    row = _against_product("work", lambda: None, repeats=2)
    assert row.seconds == pytest.approx(1.5)
    assert row.ratio == pytest.approx(2.0)
