# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo does not pass on exit statuses alone: it knows what it has to show."""
import importlib
import re
import sys

import pytest

from conftest import TOP

sys.path.insert(0, str(TOP / "tests/demo"))
sys.path.insert(0, str(TOP / "tests/vm"))

# pylint: disable=wrong-import-position
import demo


def test_recording_of_nothing_is_not_enough(tool, record):
    path = record("load chunks=10\ntransition from=None action=Init to=Unwritten count=10\n")
    assert tool("replay", path).status == 0
    assert not demo.replay(path)
    absent = demo.not_shown(tool("replay", "--json", path).json["coverage"])
    assert "Dirty Discard" in absent and "degraded-write" in absent


def test_what_is_shown_can_be(tool):
    """Names of the table and its rules."""
    table = tool("table", "--json").json
    states, actions = table["states"], table["actions"]
    assert all(state in states and action in actions for state, action in demo.CELLS)
    assert demo.RULES <= {rule["name"] for rule in table["rules"]}


def test_bars_of_a_picture_span_its_width(tmp_path):
    """Blanks that are seen are no end of a line."""
    pytest.importorskip("pyte")
    pytest.importorskip("rich")
    pictures = importlib.import_module("pictures")
    pictures.picture(b"plain\r\n\x1b[7mhead" + b" " * 76 + b"\x1b[0mtext   \r\n", 5, tmp_path / "x.svg", "x")
    svg = (tmp_path / "x.svg").read_text(encoding="utf-8")
    bar, = re.findall(r'<rect fill="[^"]*" x="0" [^>]*width="([\d.]+)"[^>]* shape-rendering', svg)
    lengths = re.findall(r'x="0" y="[\d.]+" textLength="([\d.]+)"', svg)
    assert lengths[1] == bar and float(bar) > 15 * float(lengths[0])
    assert float(lengths[0]) / 5 == float(lengths[2]) / 4       # of "plain" and "text"
