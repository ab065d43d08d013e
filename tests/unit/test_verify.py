# SPDX-License-Identifier: GPL-2.0-or-later
"""The verifier on recordings of scripted events: what it finds, and what it must not find."""
import pytest

# A new array with chunks 0..99 and all of them Unwritten.
NEW = "load chunks=100\ntransition from=None action=Init to=Unwritten first=0 count=100\n"
WRITE = "transition from=Unwritten to=Dirty first={0}\n"
SUSPEND = "barrier op=1\n"
RESUME = "barrier op=2\n"
CLEAN = (SUSPEND + "transition from=Dirty action=Daemon to=Clean first={0} flags=drained,flushed\n" +
         RESUME)
# The bitmap is on disk up to the last number.
STORED = "writeback op=0\nwriteback op=1\n"
# An array that ran before the session, all Clean, told by the session's snapshot.
RUNNING = ("load chunks=100 decision=255\n"
           "snapshot seq=500 first=0 count=100 state=Clean marks=3\n")
END = "unload\n"


def broken(result):
    assert result.status == 1, result.out + result.err
    assert result.json["verdict"] == "fail"
    return result.json["broken"]


def test_legal_run_passes(audit):
    result = audit(NEW + WRITE.format(3) + WRITE.format(4) + STORED + CLEAN.format(3) +
                   "transition from=Clean to=Dirty first=3\n" + STORED + CLEAN.format(3) + END)
    assert result.status == 0
    report = result.json
    assert report["schema"] == "llbitmapctl.replay/1"
    assert (report["verdict"], report["violations"], report["doubts"]) == ("pass", 0, [])
    load, = report["loads"]
    assert load["transitions"] == 6
    assert load["chunks_changed"] == 105
    assert (load["array"], load["chunks"], load["level"]) == ("md0", 100, 10)
    assert load["chunk_bytes"] == 65536
    assert (load["seq_first"], load["seq_last"], load["missing"]) == (1, 6, 0)
    cells = {(c["from"], c["action"]): c["chunks"] for c in report["coverage"]["cells"]}
    assert cells["Unwritten", "Startwrite"] == 2
    assert cells["Dirty", "Daemon"] == 2
    assert cells["Clean", "Startwrite"] == 1
    assert cells["Dirty", "Stale"] == 0
    assert report["coverage"]["rules"]["drained-clean"] == 2
    assert report["coverage"]["rules"]["init-clean"] == 1


def test_session_on_a_running_array_passes(audit):
    result = audit(RUNNING + "transition from=Clean to=Dirty first=9\n")
    assert (result.status, result.json["verdict"]) == (0, "pass")


def test_snapshot_is_what_follows_is_judged_by(audit):
    assert broken(audit(RUNNING + CLEAN.format(9))) == {"continuity": 1}


def test_violation_is_explained(audit):
    script = ("stack 7 llbitmap_daemon_page+0x10 [md_mod]\n" + NEW + WRITE.format(3) +
              "transition from=Dirty action=Daemon to=Clean first=3 flags=drained stack=7 "
              "comm=kworker/1:2 pid=77 tid=78 cpu=1\n")
    detail, = audit(script).json["details"]
    assert detail["rule"] == "drained-clean"
    assert (detail["array"], detail["chunk"], detail["seq"]) == ("md0", 3, 3)
    assert (detail["from"], detail["action"], detail["to"]) == ("Dirty", "Daemon", "Clean")
    assert detail["flags"] == ["drained"]
    assert (detail["comm"], detail["pid"], detail["tid"], detail["cpu"]) == ("kworker/1:2", 77, 78, 1)
    assert "llbitmap_daemon_page+0x10 [md_mod]" in detail["stack"]
    assert [(h["action"], h["to"]) for h in detail["history"]] == [
        ("seen", "None"), ("Init", "Unwritten"), ("Startwrite", "Dirty")]


def test_violation_as_text(tool, record):
    path = record(NEW + WRITE.format(3) + "transition from=Dirty action=Daemon to=Clean first=3 "
                  "flags=drained comm=kworker/1:2 pid=77\n")
    result = tool("replay", path)
    assert result.status == 1
    assert ("violation: drained-clean  md0 chunk 3 (sectors 384..511): "
            "Dirty --Daemon--> Clean") in result.out
    assert "kworker/1:2 (pid 77" in result.out
    assert "None --Init--> Unwritten --Startwrite--> Dirty" in result.out
    assert "verdict: fail: 1 violation of 1 rule" in result.out


def test_history_is_bounded_and_newest(audit):
    script = NEW + WRITE.format(0)
    for _ in range(20):
        script += STORED + CLEAN.format(0) + "transition from=Clean to=Dirty first=0\n"
    detail, = audit(script + "transition from=Clean to=Dirty first=0\n").json["details"]
    assert detail["rule"] == "continuity"
    assert len(detail["history"]) == 8
    assert detail["history"][-1] == {"action": "Startwrite", "to": "Dirty"}


@pytest.mark.parametrize("rule, event", [
    # each rule broken once, in a stream that is good otherwise
    ("table", "transition from=Unwritten action=Endsync to=Dirty flags=synced first=1"),
    ("degraded-write", "transition from=Unwritten to=Dirty flags=degraded first=1"),
    ("degraded-sync", "transition from=Dirty action=Startsync to=Syncing flags=sync-io first=2"),
    ("degraded-keep", "transition from=Dirty action=Daemon to=Clean "
                      "flags=degraded,drained,flushed first=2"),
    ("resync-first", "transition from=NeedSync action=Startsync to=Syncing "
                     "flags=sync-io,recovering,copies first=4"),
    ("stale-all", "transition from=Unwritten action=Stale to=Clean first=1"),
    ("bad-byte", "transition from=6 action=Reload to=Clean flags=bad-byte first=1"),
    ("partial-discard", "transition from=Dirty action=Discard to=Unwritten "
                        "flags=durable,all-discarded,drained,flushed first=2"),
    ("whole-discard", "transition from=Dirty action=Discard to=Unwritten "
                      "flags=whole,all-discarded,drained,flushed first=2"),
    ("whole-discard", "transition from=Dirty action=Discard to=Unwritten "
                      "flags=whole,durable,all-discarded,flushed first=2"),
    ("whole-discard", "transition from=Dirty action=Discard to=Unwritten "
                      "flags=degraded,whole,durable,all-discarded,drained,flushed first=2"),
    ("drained-clean", "transition from=Dirty action=Daemon to=Clean flags=flushed first=2"),
    ("check-is-blind", "transition from=NeedSync action=Startsync to=Syncing "
                       "flags=sync-io,check first=4"),
    ("init-clean", "transition from=None action=Init to=Clean first=1"),
    ("synced-to-end", "transition from=Syncing action=Endsync to=Dirty first=5"),
    ("change", "transition from=Dirty action=Startwrite to=Dirty first=2"),
    ("range", "transition from=Unwritten to=Dirty first=99 count=2"),
    ("range", "transition from=Unwritten to=Dirty first=100"),
    ("range", "transition from=Unwritten to=Dirty first=18446744073709551615"),
    ("range", "transition from=Unwritten to=Dirty first=1 count=0"),
    ("continuity", "transition from=Clean to=Dirty first=2"),
    ("continuity", "snapshot first=0 count=1 state=Clean"),
    ("sequence", "transition from=Unwritten to=Dirty first=1 seq=3"),
    ("sequence", "transition from=Unwritten to=Dirty first=1 seq=0"),
    ("lifetime", "load chunks=100"),
])
def test_each_rule_broken_once(audit, rule, event):
    script = (NEW + WRITE.format(2) + WRITE.format(3) +
              "transition from=Unwritten to=NeedSync flags=degraded first=4 count=2\n"
              "transition from=NeedSync action=Startsync to=Syncing flags=sync-io first=5\n")
    assert audit(script).status == 0
    assert broken(audit(script + event + "\n")) == {rule: 1}


def test_parity_is_known_from_the_level(audit):
    script = NEW.replace("chunks=100", "chunks=100 level=5", 1)
    assert broken(audit(script + WRITE.format(1))) == {"parity-first-write": 1}
    assert audit(script + "transition from=Unwritten to=NeedSync first=1 flags=parity\n").status == 0


def test_double_event(audit):
    assert broken(audit(NEW + WRITE.format(1) + WRITE.format(1))) == {"continuity": 1}
    assert broken(audit(NEW + WRITE.format(1) + WRITE.format(1).strip() + " seq=2\n")) == \
        {"sequence": 1}


def test_event_without_load_is_after_unload(audit):
    assert broken(audit(NEW + END + WRITE.format(1))) == {"lifetime": 1}
    assert broken(audit(NEW + END + "snapshot seq=3 first=0 count=1\n")) == {"lifetime": 1}


def test_event_of_no_array(audit):
    assert broken(audit(NEW + "transition dev=0 load=0\n" * 40)) == {"lifetime": 40}


def test_load_numbers_tell_loads_apart(audit):
    result = audit(NEW + WRITE.format(1) + END + NEW.replace("load ", "load load=2 ").replace(
        "transition ", "transition load=2 ") + "transition load=2 from=Unwritten to=Dirty first=1\n")
    assert result.status == 0
    assert [load["load"] for load in result.json["loads"]] == [1, 2]


def test_chunk_of_a_run_is_named(audit):
    script = NEW + WRITE.format(7) + "transition from=Unwritten to=Dirty first=5 count=4\n"
    result = audit(script)
    assert broken(result) == {"continuity": 1}
    detail, = result.json["details"]
    assert (detail["chunk"], detail["first"], detail["count"]) == (7, 5, 4)
    assert detail["expected"] == "Dirty"


def test_run_over_a_page_border(audit):
    script = ("load chunks=5000\ntransition from=None action=Init to=Unwritten first=0 count=3072\n"
              "transition from=None action=Init to=Unwritten first=3072 count=1928\n")
    assert audit(script + "transition from=Unwritten to=Dirty first=3071\n").status == 0
    assert broken(audit(script + "transition from=Unwritten to=Dirty first=3071 count=2\n")) == \
        {"range": 1}


def test_many_kinds_are_all_counted(audit):
    """More kinds of transitions than the verifier remembers judging."""
    script = NEW + WRITE.format(0)
    kinds = [(a << 9) | (b << 11) | (c << 12) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    rounds = 0
    for low in range(32):
        for kind in kinds:
            flags = kind | 0x18 | (low & 1) << 1 | (low & 2) << 1 | (low & 0x1c) << 3
            script += (STORED + SUSPEND +
                       f"transition from=Dirty action=Daemon to=Clean flags={flags}\n" + RESUME +
                       f"transition from=Clean to=Dirty flags={flags & ~0x60}\n")
            rounds += 1
    result = audit(script + script[len(NEW + WRITE.format(0)):])
    assert result.status == 0
    cells = {(c["from"], c["action"]): c["chunks"] for c in result.json["coverage"]["cells"]}
    assert cells["Dirty", "Daemon"] == cells["Clean", "Startwrite"] == 2 * rounds
    assert result.json["events"]["transition"] == 4 * rounds + 2


# ---- order and loss ----

BIG = ("load chunks=9000\n"
       "transition from=None action=Init to=Unwritten first=0 count=3072\n"
       "transition from=None action=Init to=Unwritten first=3072 count=4096\n"
       "transition from=None action=Init to=Unwritten first=7168 count=1832\n")


def test_pages_may_overtake_each_other(audit):
    result = audit(BIG + "transition seq=6 from=Unwritten to=Dirty first=4000\n"
                         "transition seq=7 from=Unwritten to=Dirty first=8000\n"
                         "transition seq=4 from=Unwritten to=Dirty first=0\n"
                         "transition seq=5 from=Unwritten to=Dirty first=1\n")
    assert (result.status, result.json["missing"]) == (0, 0)


def test_order_within_a_page_is_strict(audit):
    assert broken(audit(BIG + "transition seq=5 from=Unwritten to=Dirty first=0\n"
                              "transition seq=4 from=Unwritten to=Dirty first=1\n")) == \
        {"sequence": 1}


def test_order_within_a_page_after_usual_events(audit):
    """The late one fits a gap, but its page has gone on."""
    assert broken(audit(BIG + "transition seq=5 from=Unwritten to=Dirty first=4000\n"
                              "transition seq=6 from=Unwritten to=Dirty first=0\n"
                              "transition seq=4 from=Unwritten to=Dirty first=1\n")) == \
        {"sequence": 1}


def test_repeat_on_another_page(audit):
    assert broken(audit(BIG + "transition seq=4 from=Unwritten to=Dirty first=0\n"
                              "transition seq=4 from=Unwritten to=Dirty first=4000\n")) == \
        {"sequence": 1}


@pytest.mark.parametrize("seqs, missing", [
    ([4, 5, 9], 3), ([5, 7, 9], 3), ([4, 4000], 3995), ([9, 5, 4], 3)])
def test_gap_is_inconclusive(audit, seqs, missing):
    firsts = {seq: 4096 * i for i, seq in enumerate(seqs)}
    result = audit(BIG + "".join(f"transition seq={seq} from=Unwritten to=Dirty first={firsts[seq]}\n"
                                 for seq in seqs))
    assert (result.status, result.json["verdict"]) == (3, "inconclusive")
    assert result.json["doubts"] == ["gap"]
    assert result.json["missing"] == missing


def test_many_gaps_filled_late(audit):
    """More holes than are kept one by one: what comes late still counts."""
    even = [f"transition seq={4 + 2 * i} from=Unwritten to=Dirty first={i}\n" for i in range(300)]
    odd = [f"transition seq={5 + 2 * i} from=Unwritten to=Dirty first={4000 + i}\n"
           for i in range(299)]
    result = audit(BIG + "".join(even) + "".join(odd))
    assert (result.status, result.json["missing"]) == (0, 0)
    result = audit(BIG + "".join(even) + "".join(odd[:100]))
    assert (result.status, result.json["missing"]) == (3, 199)


# Chunk 3 becomes Clean in event 3, which is not there.
LOST = NEW + WRITE.format(3) + "transition seq=4 from=Clean to=Dirty first=3{0}\n"


def test_lost_event_is_no_false_alarm(audit):
    result = audit(LOST.format(""))
    assert (result.status, result.json["violations"], result.json["doubts"]) == (3, 0, ["gap"])
    result = audit(LOST.format("") + "snapshot first=0 count=100 state=Clean marks=3\n")
    assert (result.status, result.json["violations"], result.json["doubts"]) == (3, 0, ["gap"])


def test_lost_event_does_not_excuse_what_the_kernel_side_saw(audit):
    assert broken(audit(LOST.format(" rule=continuity"))) == {"continuity": 1}


def test_lost_event_does_not_excuse_other_rules(audit):
    assert broken(audit(LOST.format(" flags=degraded"))) == {"degraded-write": 1}


def test_loss_excuses_only_what_comes_after_it(audit):
    assert broken(audit(NEW + WRITE.format(3) + WRITE.format(3) +
                        "transition seq=9 from=Unwritten to=Dirty first=9\n")) == {"continuity": 1}


@pytest.mark.parametrize("breaks", [1, 100])
def test_late_event_explains_nothing(audit, breaks):
    """A number is missing when continuity breaks; then it comes, from another page."""
    script = BIG + "".join(f"transition seq={5 + i} from=Clean to=Dirty first={i}\n"
                           for i in range(breaks))
    result = audit(script)
    assert (result.status, result.json["violations"]) == (3, 0)
    assert broken(audit(script + "transition seq=4 from=Unwritten to=Dirty first=4000\n")) == \
        {"continuity": breaks}


def test_unload_tells_the_last_number(audit):
    result = audit(NEW + WRITE.format(1) + "unload seq=5\n")
    assert (result.status, result.json["missing"]) == (3, 3)
    assert broken(audit(NEW + WRITE.format(1) + "unload seq=1\n")) == {"sequence": 1}


def test_start_of_a_load_must_be_there(audit):
    result = audit("load chunks=100\ntransition seq=3 from=None action=Init to=Unwritten count=100\n")
    assert (result.status, result.json["missing"]) == (3, 2)


def test_gaps_before_the_first_snapshot_do_not_count(audit):
    result = audit("load chunks=9000 decision=255\n"
                   "transition seq=90 from=Clean to=Dirty first=8000\n"
                   "transition seq=95 from=Clean to=Dirty first=0\n"
                   "transition seq=103 from=Clean to=Dirty first=8500\n"
                   "snapshot seq=100 first=0 count=1 state=Dirty marks=1\n"
                   "snapshot seq=101 first=1 count=3071 state=Clean\n"
                   "snapshot seq=102 first=3072 count=4096 state=Clean\n"
                   "snapshot seq=104 first=7168 count=832 state=Clean\n"
                   "snapshot seq=105 first=8000 count=1 state=Dirty\n"
                   "snapshot seq=106 first=8001 count=499 state=Clean\n"
                   "snapshot seq=107 first=8500 count=1 state=Dirty\n"
                   "snapshot seq=108 first=8501 count=499 state=Clean marks=2\n")
    assert (result.status, result.json["missing"]) == (0, 0), result.out


def test_gap_right_after_the_first_snapshot_counts(audit):
    """Although an event behind the gap came before the snapshot."""
    result = audit("load chunks=9000 decision=255\n"
                   "transition seq=102 from=Clean to=Dirty first=4000\n"
                   "snapshot seq=100 first=0 count=3072 state=Clean marks=1\n"
                   "snapshot seq=103 first=3072 count=928 state=Clean\n"
                   "snapshot seq=104 first=4000 count=1 state=Dirty\n"
                   "snapshot seq=105 first=4001 count=3167 state=Clean\n"
                   "snapshot seq=106 first=7168 count=1832 state=Clean marks=2\n")
    assert (result.status, result.json["missing"]) == (3, 1), result.out


def test_before_its_snapshot_a_running_load_is_not_judged_by_continuity(audit):
    """While the session attaches, other CPUs' events may not be told yet."""
    early = ("load chunks=100 decision=255\n"
             "transition seq=490 from=Clean to=Dirty first=9\n"
             "transition seq=495 from=Clean to=Dirty first=9\n")
    snapshot = "snapshot seq=500 first=0 count=100 state=Clean marks=3\n"
    assert audit(early + snapshot).status == 0
    assert broken(audit(early + snapshot + STORED + CLEAN.format(9))) == {"continuity": 1}


def test_incomplete_snapshot_is_inconclusive(audit):
    for script in (
            "load chunks=100 decision=255\ntransition seq=9 from=Clean to=Dirty\n",
            "load chunks=100 decision=1\ntransition from=Dirty action=Reload to=NeedSync\n",
            "load chunks=100 decision=255\nsnapshot seq=9 count=50 state=Clean marks=1\n",
            "load chunks=100 decision=255\nsnapshot seq=9 count=50 state=Clean marks=3\n",
            "load chunks=100 decision=255\nsnapshot seq=9 count=50 state=Clean marks=1\n"
            "snapshot first=51 count=49 state=Clean marks=2\n",
            "snapshot seq=9 count=50 state=Clean marks=3\n"):
        result = audit(script)
        assert (result.status, result.json["doubts"]) == (3, ["base"]), script


@pytest.mark.parametrize("kind, status", [(0, 3), (1, 3), (2, 3), (3, 3), (4, 0),
                                          (9, 3)])        # one that only a newer tool knows
def test_loss_is_inconclusive(audit, kind, status):
    result = audit(NEW + f"loss count=5 kind={kind}\n")
    assert result.status == status
    assert sum(result.json["lost"].values()) == 5


def test_violation_beats_doubt(audit):
    result = audit(NEW + "loss count=5\ntransition from=Clean to=Dirty first=2\n")
    assert result.status == 1
    assert result.json["doubts"] == ["loss"]


def test_nothing_seen_is_inconclusive(audit):
    result = audit("")
    assert (result.status, result.json["doubts"]) == (3, ["empty"])


def test_more_arrays_than_slots(audit):
    script = "".join(
        f"load dev={i} load={i} chunks=10\n"
        f"transition dev={i} load={i} seq=1 from=None action=Init to=Unwritten count=10\n"
        for i in range(1, 137))
    result = audit(script)
    assert (result.status, result.json["doubts"]) == (3, ["unwatched"])
    assert sum(not load["watched"] for load in result.json["loads"]) == 8


def test_many_loads_one_after_the_other(audit):
    script = "".join(
        f"load load={i} chunks=10\n"
        f"transition load={i} seq=1 from=None action=Init to=Unwritten count=10\n"
        f"unload load={i} seq=1\n" for i in range(1, 1001))
    assert audit(script).status == 0
    # A gap in one that is long forgotten is not.
    result = audit(script.replace("unload load=3 seq=1", "unload load=3 seq=2"))
    assert (result.status, result.json["missing"]) == (3, 1)


def test_arrays_interleaved(audit):
    script = NEW + NEW.replace("load ", "load dev=0x900001 load=2 ").replace(
        "transition ", "transition dev=0x900001 load=2 ")
    for i in range(50):
        script += (f"transition seq={i + 2} from=Unwritten to=Dirty first={i}\n"
                   f"transition seq={i + 2} dev=0x900001 load=2 from=Unwritten to=Dirty first={i}\n")
    result = audit(script)
    assert result.status == 0
    assert [load["transitions"] for load in result.json["loads"]] == [51, 51]


def test_origin_is_shown(tool, record):
    path = record("meta started 2026-11-22T09:00:00Z\nmeta kernel 6.12.5\nmeta tool v1\n" + NEW)
    assert ("recorded 2026-11-22T09:00:00Z on kernel 6.12.5 by llbitmapctl v1"
            in tool("replay", path).out.splitlines())


def test_name_of_the_array_from_the_recording(audit):
    result = audit("meta array.9:0.1.name home\n" + NEW)
    assert result.json["loads"][0]["array"] == "home"
