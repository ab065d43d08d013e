# SPDX-License-Identifier: GPL-2.0-or-later
"""Size changes: which chunks there are, and that those which come back begin anew."""
import json

import pytest

NEW = "load chunks=100\ntransition from=None action=Init to=Unwritten first=0 count=100\n"
WRITE = "transition from=Unwritten to=Dirty first={0}\n"
GROW = ("resize old=100 chunks=200\n"
        "transition from=None action=Init to=Unwritten first=100 count=100\n")
SHRINK = "resize old=100 chunks=50\n"
RUNNING = ("load chunks=100 decision=255\n"
           "snapshot seq=500 first=0 count=100 state=Clean marks=3\n")


def broken(result):
    assert result.status == 1, result.out + result.err
    return result.json["broken"]


def test_growing(audit):
    result = audit(NEW + WRITE.format(99) + GROW + WRITE.format(199) + "unload\n")
    assert (result.status, result.json["verdict"]) == (0, "pass")
    load, = result.json["loads"]
    assert (load["chunks"], load["seq_last"], load["missing"]) == (200, 5, 0)
    assert result.json["events"]["resize"] == 1


@pytest.mark.parametrize("script, rule", [
    (NEW + WRITE.format(100), "range"),
    (NEW + GROW + WRITE.format(200), "range"),
    (NEW + SHRINK + WRITE.format(50), "range"),
    (NEW + SHRINK + "snapshot first=0 count=100 marks=3\n", "range"),
    # before the resize that makes them
    (NEW + "transition from=None action=Init to=Unwritten first=100 count=100\n"
           "resize old=100 chunks=200\n", "range"),
    # new chunks were never Unwritten: stale bytes
    (NEW + "resize old=100 chunks=200\n" + WRITE.format(150), "continuity"),
    (NEW + GROW.replace("to=Unwritten", "to=Clean"), "init-clean"),
    # not from what there was
    (NEW + "resize old=99 chunks=200\n", "continuity"),
    (NEW + GROW + "resize old=100 chunks=300\n", "continuity"),
    (NEW + "resize old=100 chunks=0\n", "range"),
    (NEW + "resize old=100 chunks=130049\n", "range"),
    (NEW + "unload\nresize old=100 chunks=200\n", "lifetime"),
    (NEW + "resize old=100 chunks=200 seq=1\n", "sequence"),
])
def test_violations(audit, script, rule):
    assert broken(audit(script)) == {rule: 1}


def test_chunks_that_come_back_begin_anew(audit):
    """Dirty when the array shrank: only Init gives it a state when it grows again."""
    script = NEW + WRITE.format(70) + SHRINK + "resize old=50 chunks=100\n"
    init = "transition from=None action=Init to=Unwritten first=50 count=50\n"
    assert audit(script + init + WRITE.format(70)).status == 0
    assert broken(audit(script + "transition from=Dirty action=Stale to=NeedSync first=70 "
                                 "flags=user\n")) == {"continuity": 1}


def test_size_within_the_last_chunk(audit):
    script = ("load chunks=100 level=5\n"
              "transition from=None action=Init to=Unwritten first=0 count=100 flags=parity\n"
              "transition from=Unwritten to=NeedSync first=99 flags=parity\n"
              "transition from=NeedSync action=Startsync to=Syncing first=99 flags=parity,sync-io\n"
              "transition from=Syncing action=Endsync to=Dirty first=99 flags=parity,synced\n"
              "resize old=100 chunks=100\n")
    assert audit(script).status == 0
    assert audit(script + "transition from=Dirty action=Stale to=NeedSync first=99 "
                          "flags=parity,user\n").status == 0


def test_growing_a_running_array(audit):
    result = audit(RUNNING + "resize old=100 chunks=5000\n"
                   "transition from=None action=Init to=Unwritten first=100 count=2972\n"
                   "transition from=None action=Init to=Unwritten first=3072 count=1928\n"
                   "transition from=Unwritten to=Dirty first=4999\n")
    assert (result.status, result.json["verdict"]) == (0, "pass")


def test_lost_resize_is_no_false_alarm(audit):
    """Its number is missing: what is behind it is not judged by what was known before."""
    lost = "transition seq=4 from=Unwritten to=Dirty first=150{0}\n"
    result = audit(NEW + lost.format("") + "transition from=Dirty action=Stale to=NeedSync "
                   "first=150 flags=user\n")
    assert (result.status, result.json["violations"], result.json["doubts"]) == (3, 0, ["gap"])
    assert broken(audit(NEW + lost.format(" rule=range"))) == {"range": 1}
    result = audit(NEW + "resize seq=4 old=200 chunks=100\n")
    assert (result.status, result.json["violations"]) == (3, 0)
    assert broken(audit(NEW + "resize seq=4 old=200 chunks=100 rule=continuity\n")) == \
        {"continuity": 1}


def test_not_even_a_lost_resize_explains_it(audit):
    assert broken(audit(NEW + "transition seq=4 from=Unwritten to=Dirty first=130048\n")) == \
        {"range": 1}


def test_missing_resize_is_a_gap(audit):
    result = audit(NEW + GROW.replace("chunks=200", "chunks=200 seq=3"))
    assert (result.status, result.json["missing"]) == (3, 1)


def test_trace_and_top_of_a_recording(tool, record):
    path = record(NEW + WRITE.format(99) + GROW + "resize old=200 chunks=50\n" + WRITE.format(7))
    result = tool("replay", "--as", "trace", path)
    assert "resize     #3      100 -> 200 chunks of 128 sectors" in result.out
    lines = [json.loads(line) for line in tool("replay", "--as", "trace", "--json", path).out.splitlines()]
    events = [line for line in lines if line.get("event") == "resize"]
    assert [(e["seq"], e["old_chunks"], e["chunks"], e["chunk_bytes"]) for e in events] == [
        (3, 100, 200, 65536), (5, 200, 50, 65536)]
    result = tool("replay", "--as", "top", "--json", path)
    array, = json.loads(result.out.splitlines()[-1])["arrays"]
    assert array["chunks"] == 50
    assert array["counts"]["unwritten"] == 49 and array["counts"]["dirty"] == 1
