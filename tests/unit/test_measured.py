# SPDX-License-Identifier: GPL-2.0-or-later
"""What other events show of a transition's context, whatever its flags claim."""
import pytest

NEW = ("load chunks=9000\n"
       "transition from=None action=Init to=Unwritten first=0 count=3072\n"
       "transition from=None action=Init to=Unwritten first=3072 count=4096\n"
       "transition from=None action=Init to=Unwritten first=7168 count=1832\n"
       "transition from=Unwritten to=Dirty first=5\n"
       "writeback op=0\nwriteback op=1\n")
# An array that ran before the session: nothing is known of its pages.
RUNNING = ("load chunks=100 decision=255\n"
           "snapshot seq=500 first=0 count=100 state=Dirty marks=3\n")
SUSPEND, RESUME, TIMEOUT = (f"barrier op={op}\n" for op in (1, 2, 3))
FLUSH_FAILS = "error kind=2 errno=-5\n"
NO_MEMBER = "error kind=7 errno=-5\n"
CLEAN = "transition from=Dirty action=Daemon to=Clean first=5 flags=drained,flushed\n"
DISCARD = ("transition from=Dirty action=Discard to=Unwritten first=5 "
           "flags=drained,flushed,whole,durable,all-discarded\n")
WRITE = "transition from=Unwritten to=Dirty first=6\n"
MARK = WRITE.replace("first", "flags=user first")


@pytest.mark.parametrize("events, rule", [
    (CLEAN, "drained-clean"),
    (SUSPEND + RESUME + CLEAN, "drained-clean"),
    (TIMEOUT + RESUME + CLEAN, "drained-clean"),
    ("barrier op=1 page=1\n" + CLEAN, "drained-clean"),
    (SUSPEND + "daemon op=0\n" + CLEAN, "drained-clean"),       # the pass began without it
    (SUSPEND + FLUSH_FAILS + CLEAN, "drained-clean"),
    (DISCARD, "whole-discard"),
    (SUSPEND + FLUSH_FAILS + DISCARD, "whole-discard"),
    (WRITE + SUSPEND + DISCARD, "durable-first"),               # no bitmap write carried it
    (WRITE + SUSPEND + CLEAN, "durable-first"),
    (WRITE + "writeback op=0\n" + SUSPEND + CLEAN, "durable-first"),        # it still runs
    (WRITE + "writeback op=0 seq=4\nwriteback op=1 seq=4\n" + SUSPEND + CLEAN, "durable-first"),
    (WRITE + "writeback op=0 page=1\nwriteback op=1 page=1\n" + SUSPEND + CLEAN, "durable-first"),
    # it failed, so the number has not moved
    (WRITE + "writeback op=0\nwriteback op=1 seq=4 error=-5\n" + SUSPEND + CLEAN, "durable-first"),
    (SUSPEND + WRITE, "suspended-page"),
    ("writeback op=0\n" + WRITE + "writeback op=1\n", "bitmap-write"),      # more than it carried
    ("writeback op=0\nwriteback op=1 seq=1\n", "bitmap-write"),             # less than before
])
def test_broken(audit, events, rule):
    assert audit(NEW).status == 0
    report = audit(NEW + events)
    assert report.status == 1
    assert report.json["broken"] == {rule: 1}
    # events may have been lost that explain it, unless the kernel side, which sees all, objected
    for loss in range(4):
        report = audit(NEW + events + f"loss kind={loss}\n")
        assert (report.status, report.json["broken"]) == (3, {})
    lines = events.splitlines()
    lines[-1] += f" rule={rule}"
    report = audit(NEW + "\n".join(lines) + "\nloss kind=0\n")
    assert (report.status, report.json["broken"]) == (1, {rule: 1})


@pytest.mark.parametrize("events", [
    SUSPEND + CLEAN + RESUME,
    SUSPEND + DISCARD + RESUME,
    "daemon op=0\n" + SUSPEND + CLEAN + RESUME + "daemon op=1\n",
    WRITE + "writeback op=0\nwriteback op=1\n" + SUSPEND + CLEAN + RESUME,
    # one write carries what came before it, another what came meanwhile
    "writeback op=0\n" + WRITE + "writeback op=1 seq=4\nwriteback op=0\nwriteback op=1\n" +
    SUSPEND + CLEAN + RESUME,
    FLUSH_FAILS + SUSPEND + CLEAN + RESUME,                     # this one did not fail
    SUSPEND + CLEAN + RESUME + WRITE,
    SUSPEND + "transition from=Unwritten to=Dirty first=4000\n" + CLEAN + RESUME,   # elsewhere
    "barrier op=1\nbarrier op=1 page=1\nbarrier op=2 page=1\n" + CLEAN + RESUME,
    SUSPEND + MARK + RESUME,                                    # through sysfs, by no writer
    MARK + SUSPEND + CLEAN + RESUME,
    NO_MEMBER + WRITE + SUSPEND + CLEAN + RESUME,               # the bitmap is given up
    "writeback op=1 seq=4\n",                                   # begun before the session
])
def test_legal(audit, events):
    report = audit(NEW + events)
    assert (report.status, report.json["verdict"]) == (0, "pass"), report.out


@pytest.mark.parametrize("events", [
    CLEAN,                                  # suspended before the session, or not: who knows
    RESUME + SUSPEND + CLEAN,
    DISCARD,
    "barrier op=1 page=77\n" + CLEAN,
    "writeback op=0 page=77\nwriteback op=1 page=77 seq=9\n" + CLEAN,
    "writeback op=1 seq=600\n",
])
def test_nothing_follows_from_what_was_not_seen(audit, events):
    assert audit(RUNNING + events).status == 0


def test_known_from_the_first_pass_on(audit):
    assert audit(RUNNING + "daemon op=0\n" + CLEAN).json["broken"] == {"drained-clean": 1}
    assert audit(RUNNING + SUSPEND + RESUME + CLEAN).json["broken"] == {"drained-clean": 1}


def test_many_findings_are_all_counted(audit):
    """More than are kept one by one."""
    events = "".join(f"transition from=Unwritten to=Dirty first={chunk}\n"
                     for chunk in range(100, 300))
    report = audit(NEW + SUSPEND + events).json
    assert (report["violations"], report["broken"]) == (200, {"suspended-page": 200})
    assert len(report["details"]) == 64


def test_finding_is_explained(tool, record):
    out = tool("replay", record(NEW + "writeback op=0\n" + WRITE + "writeback op=1 comm=md0_raid1\n")).out
    assert "violation: bitmap-write  md0 chunk 0: page 0 said to be durable up to #5" in out
    out = tool("replay", record(NEW + "unload seq=3\n")).out
    assert "violation: sequence  md0 chunk 0: unload after #3" in out
