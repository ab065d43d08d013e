# SPDX-License-Identifier: GPL-2.0-or-later
"""As many arrays in a recording as `record --arrays` takes; more are counted, in every view."""
import pytest

MOST = 128
DEV = 9 << 20
FULL = [(first, min(4096, 130048 - first) if first else 3072) for first in (0, *range(3072, 130048, 4096))]
LIFE = ("transition from=None action=Init to=Unwritten count=10 seq=1",
        "transition from=Unwritten to=Dirty first=3 seq=2",
        "writeback op=0 seq=2", "writeback op=1 seq=2", "barrier op=1",
        "transition from=Dirty action=Daemon to=Clean first=3 flags=drained,flushed seq=3",
        "barrier op=2")


def side_by_side(loads, lines):
    """Each line for every load in turn."""
    return "".join(f"{line} load={load} dev={DEV + load}\n" for line in lines for load in range(1, loads + 1))


@pytest.mark.parametrize("view", ["audit", "top", "hist"])
@pytest.mark.parametrize("loads", [33, MOST, MOST + 1, 2 * MOST])
def test_arrays_side_by_side(tool, record, view, loads):
    path = record(side_by_side(loads, ("load chunks=10", *LIFE)))
    text, result = tool("replay", "--as", view, path), tool("replay", "--json", "--as", view, path)
    beyond = max(0, loads - MOST)
    assert (text.status, result.status) == ((3, 3) if beyond else (0, 0)), text.out
    assert (f"not watched: {beyond} loads\n" in text.out) == bool(beyond)
    if view == "audit":
        watched = [load for load in result.json["loads"] if load["watched"]]
        assert {(load["transitions"], load["violations"]) for load in watched} == {(3, 0)}
    else:
        assert (result.json["unwatched"], result.json["missing"]) == (beyond, 0)
    if view == "top":
        watched = result.json["arrays"]
        assert {array["counts"]["clean"] for array in watched} == {1}
    if view == "hist":
        dirty, = [h for h in result.json["histograms"] if h["name"] == "dirty"]
        assert dirty["count"] == min(loads, MOST)
    else:
        assert len(watched) == min(loads, MOST)
    assert tool("replay", "--as", "trace", path).status == 0


@pytest.mark.parametrize("view", ["top", "hist"])
def test_load_told_late_is_counted_once(tool, record, view):
    """One that ran before may be told after its first events."""
    path = record(side_by_side(MOST + 3, (*LIFE[:2], "load chunks=10 decision=255", *LIFE[2:])))
    assert tool("replay", "--json", "--as", view, path).json["unwatched"] == 3


@pytest.mark.parametrize("view", ["audit", "top", "hist"])
def test_an_ended_load_makes_room(tool, record, view):
    ended = side_by_side(MOST, ("load chunks=10", *LIFE, "unload seq=3"))
    path = record(ended + ended.replace(" load=", " load=1000"))
    assert tool("replay", "--as", view, path).status == 0


@pytest.mark.parametrize("view, beyond", [("audit", 12), ("hist", 12), ("top", 0)])
def test_largest_arrays_fill_no_memory(tool, record, view, beyond):
    """60 bitmaps of the largest size, every chunk of each: more than there is room for."""
    lines = [f"transition from=None action=Init to=Unwritten first={first} count={count} seq={seq}"
             for seq, (first, count) in enumerate(FULL, 1)]
    path = record(side_by_side(60, ("load chunks=130048", *lines)))
    status, kib = tool.measured("replay", "--as", view, path)
    assert status == (3 if beyond else 0)
    assert kib < 64 * 1024
    result = tool("replay", "--json", "--as", view, path).json
    unwatched = ([load["watched"] for load in result["loads"]].count(False) if view == "audit" else
                 result["unwatched"])
    assert beyond <= unwatched <= 60 if beyond else not unwatched
    if view == "audit":
        assert (result["verdict"], result["doubts"]) == ("inconclusive", ["unwatched"])
