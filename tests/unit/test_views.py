# SPDX-License-Identifier: GPL-2.0-or-later
"""replay --as trace, top and hist: figures against those computed by hand."""
import json
import subprocess

import pytest

SCRIPT = """\
load chunks=100 level=1 members=2 ts=1000000
transition from=None action=Init to=Unwritten first=0 count=100 ts=1000001
barrier op=0 page=0 ns=500 ts=1000100
transition from=Unwritten to=Dirty first=0 count=10 ts=2000000
transition from=Unwritten to=NeedSync first=10 count=2 flags=degraded ts=2000000
writeback op=0 page=0 seq=3 ts=2000100
writeback op=1 page=0 seq=3 blocks=8 ts=2064100
daemon op=0 ts=3000000
transition from=Dirty action=Daemon to=Clean first=0 count=4 flags=drained,flushed ts=3000000
daemon op=1 pages=1 skipped=0 cleaned=4 ts=3009000
transition from=NeedSync action=Startsync to=Syncing first=10 flags=sync-io ts=2500000
sync op=0 sector=1280 sectors=128
error kind=0 errno=-5
barrier op=3 page=0 ns=100
"""


def test_trace_lines(tool, record):
    path = record(SCRIPT)
    lines = tool("replay", "--as", "trace", path).out.splitlines()
    assert len(lines) == SCRIPT.count("\n")
    assert lines[0].split()[:4] == ["0.000000", "md0", "fio", "load"]
    assert "chunks 10..11" in lines[4] and "Unwritten -> NeedSync" in lines[4]
    assert "Startwrite [degraded]" in lines[4]
    assert tool("replay", "--as", "trace", "-n", "3", path).out.splitlines() == lines[:3]


def test_trace_json(tool, record):
    events = tool("replay", "-j", "--as", "trace", record(SCRIPT)).documents
    assert {event["schema"] for event in events} == {"llbitmapctl.replay/1"}
    assert events[4]["flags"] == ["degraded"]
    assert (events[4]["first"], events[4]["count"], events[4]["seq"]) == (10, 2, 3)
    assert [event["event"] for event in events] == [line.split()[0] for line in SCRIPT.splitlines()]


def test_trace_tells_the_time(tool, record):
    """As audit does, and for people where they are."""
    clock, unknown = record("meta clock_offset_ns 1700000000000000000\n" + SCRIPT), record(SCRIPT, "x")
    events = tool("replay", "-j", "--as", "trace", clock).documents
    assert [event["time_ns"] - event["ts_ns"] for event in events] == [17 * 10**17] * len(events)
    zone = {"TZ": "Europe/Berlin"}
    lines = tool("replay", "--as", "trace", "--time", clock, env=zone).out.splitlines()
    assert lines[0].startswith("2023-11-14T23:13:20.001000+0100 md0 "), lines[0]
    assert [line.split(" ", 1)[1] for line in lines] == [
        line[13:] for line in tool("replay", "--as", "trace", clock).out.splitlines()]
    # What is not known is not said.
    assert not any("time_ns" in event for event in tool("replay", "-j", "--as", "trace", unknown).documents)
    result = tool("replay", "--as", "trace", "-T", unknown)
    assert result.out == tool("replay", "--as", "trace", unknown).out
    assert (result.status, "does not say when it was" in result.err) == (0, True)


def test_flags_are_a_list_everywhere(tool, record):
    path = record("load chunks=10\ntransition from=None action=Init to=Unwritten count=10\n"
                  "transition from=Unwritten to=Dirty flags=degraded,discard\n")
    detail, = tool("replay", "-j", path).json["details"]
    shown = tool("replay", "-j", "--as", "trace", path).documents[-1]
    assert detail["flags"] == shown["flags"] == ["degraded", "discard"]


def test_trace_shows_stacks(tool, record):
    out = tool("replay", "--as", "trace", record(
        "stack 5 md_write_start+0x3 [md_mod]\n" + SCRIPT + "barrier ns=4 stack=5\n")).out
    assert out.endswith("md_write_start+0x3 [md_mod]\n")


def test_top_counts(tool, record):
    document = tool("replay", "--json", "--as", "top", record(SCRIPT)).json
    array, = document["arrays"]
    assert array["counts"] == {"unwritten": 88, "clean": 4, "dirty": 6, "need_sync": 1,
                               "syncing": 1, "unknown": 0}
    assert array["changes"]["Startwrite"] == 12
    assert array["changes"]["Daemon"] == 4
    assert array["changes"]["Init"] == 100
    assert (array["transitions"], array["bitmap_writes"], array["daemon_passes"]) == (5, 1, 1)
    assert (array["barrier_waits"], array["barrier_wait_ns"], array["drain_timeouts"]) == (1, 500, 1)
    assert (array["chunks_cleaned"], array["errors"], array["syncing"]) == (4, 1, True)
    assert array["sync_offset_bytes"] == 1280 * 512
    assert "Dirty 6" in tool("replay", "--as", "top", record(SCRIPT)).out


NAMED = "meta array.9:0.1.name md_home\n" + SCRIPT


@pytest.mark.parametrize("view", ["audit", "trace", "top"])
def test_array_has_its_name(tool, record, view):
    """Not only the number of its device."""
    documents = tool("replay", "--json", "--as", view, record(NAMED)).documents
    named = documents if view == "trace" else documents[0]["loads" if view == "audit" else "arrays"]
    assert {item["array"] for item in named} == {"md_home"}
    text = tool("replay", "--as", view, record(NAMED)).out
    assert "md_home" in text and "md0" not in text


@pytest.mark.parametrize("view", ["audit", "trace", "top", "hist"])
def test_several_files_are_told_apart(tool, record, view):
    paths = [str(record(SCRIPT, name)) for name in ("first", "second")]
    documents = tool("replay", "--json", "--as", view, *paths).documents
    assert {document["source"] for document in documents} == set(paths)
    out = tool("replay", "--as", view, *paths).out
    heads = [line.removeprefix("audit of ") for line in out.splitlines()]
    assert [head for head in heads if head in paths] == paths
    alone = tool("replay", "--as", view, paths[0]).out
    assert (paths[0] in alone) == (view == "audit")


def test_violation_has_time_and_place(tool, record):
    script = ("load chunks=10 chunk_sectors=256 ts=1000000000\n"
              "transition from=None action=Init to=Unwritten count=10\n"
              "transition from=Unwritten action=Daemon to=Clean first=5 ts=1500000000\n")
    clock = "meta clock_offset_ns 1700000000000000000\n"
    text = tool("replay", record(clock + script)).out
    assert "md0 chunk 5 (sectors 1280..1535): " in text
    assert "\n  time     2023-11-14T22:13:21.500000Z\n" in text
    detail, = tool("replay", "--json", record(clock + script)).json["details"]
    assert (detail["time_ns"], detail["offset_bytes"]) == (1700000001500000000, 1280 * 512)
    # What is not known is not said.
    unknown = script.split("\n", 1)[1].replace("ts=1500000000", "")
    text = tool("replay", record(unknown)).out
    assert "chunk 5: " in text and "  time  " not in text
    for detail in tool("replay", "--json", record(unknown)).json["details"]:
        assert "time_ns" not in detail and "offset_bytes" not in detail


@pytest.mark.parametrize("view", ["audit", "trace", "top", "hist"])
def test_documents_say_what_they_are(tool, record, view):
    """replay has a document for each view; an error is none of them."""
    for document in tool("replay", "--json", "--as", view, record(SCRIPT)).documents:
        assert (document["schema"], document["view"]) == ("llbitmapctl.replay/1", view)
    error = tool("replay", "--json", "--as", view, "absent").json
    assert error["schema"] == "llbitmapctl.error/1" and "view" not in error
    assert "view" not in tool("audit", "--json", record(SCRIPT)).json


def test_hist_figures(tool, record):
    document = tool("replay", "--json", "--as", "hist", record(SCRIPT)).json
    hists = {h["name"]: h for h in document["histograms"]}
    assert (hists["dirty"]["count"], hists["dirty"]["sum_ns"], hists["dirty"]["max_ns"]) == \
        (4, 4000000, 1000000)
    assert hists["dirty"]["buckets"] == [{"from_ns": 524288, "count": 4}]
    assert (hists["need_sync"]["count"], hists["need_sync"]["max_ns"]) == (1, 500000)
    assert (hists["bitmap_write"]["count"], hists["bitmap_write"]["max_ns"]) == (1, 64000)
    assert (hists["barrier_wait"]["count"], hists["barrier_wait"]["sum_ns"]) == (1, 500)
    assert (hists["daemon_pass"]["count"], hists["daemon_pass"]["max_ns"]) == (1, 9000)


def test_hist_quantiles(tool, record):
    """90 waits of about 1 us, 9 of about 1 ms, one of 1 s."""
    script = "barrier ns=1000\n" * 90 + "barrier ns=1000000\n" * 9 + "barrier ns=1000000000\n"
    waits = [h for h in tool("replay", "--json", "--as", "hist", record(script)).json["histograms"]
             if h["name"] == "barrier_wait"][0]
    assert 512 <= waits["p50_ns"] <= 1024
    assert 512 <= waits["p90_ns"] <= 1024
    assert 524288 <= waits["p99_ns"] <= 1048576
    assert waits["max_ns"] == 1000000000
    out = tool("replay", "--as", "hist", record(script)).out
    assert "barrier wait: 100," in out and "max 1 s" in out


@pytest.mark.parametrize("how", ["trace", "top", "hist"])
def test_cut_short_is_said(tool, record, how):
    result = tool("replay", "--as", how, record(SCRIPT + "stop\n"))
    assert result.status == 3
    assert "cut short" in result.err and result.out


@pytest.mark.parametrize("how", ["trace", "top", "hist"])
def test_loss_is_said(tool, record, how):
    """As live: the status says that figures are too low. A stack more or less changes none."""
    path = record(SCRIPT + "loss count=5 kind=0\nloss count=2 kind=3\nloss count=3 kind=4\n")
    result = tool("replay", "--as", how, path)
    assert result.status == 3
    assert result.err == ("llbitmapctl: 5 lost: ring buffer full\n"
                          "llbitmapctl: 2 lost: program skipped by recursion\n"
                          "llbitmapctl: 3 lost: stack not kept\n")
    documents = tool("replay", "--json", "--as", how, path).documents
    if how != "trace":
        assert [d["lost"] for d in documents] == [7]
        assert "lost: 7 events" in result.out
    harmless = tool("replay", "--as", how, record(SCRIPT + "loss count=3 kind=4\n"))
    assert (harmless.status, harmless.err) == (0, "llbitmapctl: 3 lost: stack not kept\n")
    # what a newer tool counted, and we have no name for, is lost all the same
    assert tool("replay", "--as", how, record(SCRIPT + "loss count=3 kind=9\n")).status == 3


BEGUN = "load chunks=5000\ntransition from=None action=Init to=Unwritten count=3072\n"
DIRTY = "transition from=Unwritten to=Dirty first={0} seq={0}\n"
# Of one that ran before, numbers count from its first whole snapshot on.
RUNNING = """\
load chunks=20 decision=255
transition from=Clean to=Dirty first=3 seq=50
snapshot count=9 seq=55 state=Clean marks=1
snapshot count=10 seq=60 state=Clean marks=1
snapshot first=10 count=10 seq=62 state=Clean marks=2
"""
AGAIN = "load load=2 chunks=10 decision=1\nsnapshot load=2 seq=1 count=10 state=Clean marks=3\n"
GAPS = {"inside": (BEGUN + DIRTY.format(5), 3), "end": (BEGUN + "unload seq=3\n", 2),
        "loads": (BEGUN + DIRTY.format(5) + "unload seq=5\n" + AGAIN + "unload load=2 seq=2\n", 4),
        "running": (RUNNING, 1)}


@pytest.mark.parametrize("how", ["audit", "trace", "top", "hist"])
@pytest.mark.parametrize("gap", GAPS)
def test_missing_numbers_are_said(tool, record, how, gap):
    """The verifier, and who does not verify, count the same."""
    script, missing = GAPS[gap]
    path = record(script)
    result = tool("replay", "--as", how, path)
    assert result.status == 3
    if how != "audit":
        assert result.err == f"llbitmapctl: {missing} sequence numbers missing: events were lost\n"
    if how != "trace":
        assert f"missing: {missing} sequence numbers\n" in result.out
        assert tool("replay", "--json", "--as", how, path).json["missing"] == missing


@pytest.mark.parametrize("how", ["audit", "trace", "top", "hist"])
def test_numbers_that_come_late_are_not_missing(tool, record, how):
    """Events of other pages come in any order; where a trace ends before, nobody knows."""
    path = record(BEGUN + DIRTY.format(5) + "".join(
        f"transition from=None action=Init to=Unwritten first={3071 + seq} seq={seq}\n"
        for seq in (2, 3, 4)))
    result = tool("replay", "--as", how, path)
    assert (result.status, result.err) == (0, "")
    if how == "trace":
        assert tool("replay", "--as", how, "-n", "3", path).status == 0


def test_nothing_to_verify_is_said(tool, record):
    """A pass, for nothing was missed, but not of transitions."""
    text = tool("replay", record("load chunks=10 decision=1\nsnapshot first=0 count=10 state=Clean marks=3\n"))
    assert (text.status, "every transition" in text.out) == (0, False), text.out
    assert "no transition to verify" in text.out
    text = tool("replay", record("load chunks=10\ntransition from=None action=Init to=Unwritten count=10\n"))
    assert "every transition was seen and is legal" in text.out


# Ends the line, sends an escape code, in both its forms, and is no UTF-8 at the end.
FORGED = r"a\x0a\x1b[2Jb\x7f\xc2\x9b3c\xff"
TAMED = "a??[2Jb???3c?"
# What may stay: letters of other languages.
FOREIGN = ("meta array.9:0.1.name \u00e4" + FORGED + "\nmeta kernel 6.12" + FORGED + "\nmeta tool t" + FORGED +
           "\nmeta started now" + FORGED + "\nstack 5 f" + FORGED.replace("\\x0a", "\\x0d") + "\\x0ag\\x0d\n"
           "load chunks=10\n"
           "transition from=Clean to=Dirty first=3 stack=5 comm=" + FORGED + "\n")


@pytest.mark.parametrize("view", ["audit", "trace", "top", "hist"])
def test_foreign_text_forges_nothing(tool, record, view):
    """Names, stacks and facts in a recording come from others, and go to a terminal."""
    path = record(FOREIGN, FORGED.replace("\\x0a", "\n").replace("\\x1b", "\033"))
    same = record(FOREIGN.replace(FORGED, "plain"), "plain")
    for files in ([path], [path, same]):
        raw = subprocess.run([tool.path, "replay", "--as", view, *files], capture_output=True, check=False)
        text = raw.stdout.decode()      # nothing that is no UTF-8
        assert not [c for c in text if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"], text
    lines = tool("replay", "--as", view, path).out.splitlines()
    assert len(lines) == len(tool("replay", "--as", view, same).out.splitlines())
    if view != "hist":
        assert f"\u00e4{TAMED}" in "\n".join(lines)
    if view in ("audit", "trace"):
        assert [line for line in lines if TAMED in line and "\u00e4" not in line]
    # JSON says it all, and is one line that a terminal may show
    documents = subprocess.run([tool.path, "replay", "--json", "--as", view, path],
                               capture_output=True, check=False).stdout.decode()
    assert not [c for c in documents if (c < " " and c != "\n") or "\x7f" <= c < "\xa0"]
    if view == "trace":
        event = json.loads(documents.splitlines()[-1])
        assert event["comm"] == "a\n\x1b[2Jb\x7f\x9b3c\ufffd"
        assert event["array"] == "\u00e4a\n\x1b[2Jb\x7f\x9b3c\ufffd"
