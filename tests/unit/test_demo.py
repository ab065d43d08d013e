# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo does not pass on exit statuses alone: it knows what it has to show."""
import sys

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
