# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make races` counts, remembers and judges, where that needs no VM."""
import argparse
import importlib.util
import json
import os
import re
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest

from conftest import TOP

RACES = TOP / "tests/races"
sys.path[:0] = [str(RACES)]

import load
from vmtest.campaign import Rounds

# other proofs have a campaign.py as well
spec = importlib.util.spec_from_file_location("races_campaign", RACES / "campaign.py")
campaign = importlib.util.module_from_spec(spec)
spec.loader.exec_module(campaign)

ENOUGH = dict.fromkeys(load.MUST, 1)


# -- what is counted --------------------------------------------------------------------------------

@pytest.fixture
def loop(tmp_path):
    """Runs a loop of the load against files in place of sysfs, for two turns at most, with what
    takes the place of mdadm; gives the words that it left."""
    def run(name, mdadm, dmsetup="exit 1", state="in_sync", **files):
        for path, text in {"degraded": "0", "sync_action": "idle", **files}.items():
            (tmp_path / path).write_text(f"{text}\n", encoding="ascii")
        (tmp_path / "dev-vda").mkdir(exist_ok=True)
        (tmp_path / "dev-vda/state").write_text(f"{state}\n", encoding="ascii")
        (tmp_path / "mdadm").write_text(f"#!/bin/sh\n{mdadm}\n", encoding="ascii")
        (tmp_path / "mdadm").chmod(0o755)
        # never this machine's
        (tmp_path / "dmsetup").write_text(f"#!/bin/sh\n{dmsetup}\n", encoding="ascii")
        (tmp_path / "dmsetup").chmod(0o755)
        text = (load.PRELUDE + load.LOOPS[name]).format(
            seed=1, sysfs=tmp_path, array="/dev/md0", chunks=100, failing="/dev/vda", fast="",
            failing_name="vda", members="/dev/vda", must="", slow="", held="held", let_go="let go",
            broken="broken")
        # as fast as it can, and not for ever
        text = text.replace("/run/", f"{tmp_path}/").replace(
            'pause() {', 'turns=0\non() { (( turns++ < 2 )); }\npause() { return; ')
        text = text.replace('on() { ! [', 'unused() { ! [')
        did = tmp_path / "races.did"
        did.unlink(missing_ok=True)
        subprocess.run(["bash", "-c", f"{text}\ndid ended"], check=True, timeout=60,
                       env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
        return set(did.read_text(encoding="ascii").split())

    return run


def test_an_array_that_nothing_was_removed_from_was_not_made_whole(loop):
    assert loop("members", "exit 1") == {"state", "ended"}


def test_a_member_that_went_and_came_back(loop):
    assert loop("members", "exit 0") >= {"removed", "joined", "re-add", "whole"}
    assert loop("members", 'case "$2" in --re-add) exit 1;; esac') >= {"joined", "add", "whole"}


def test_a_member_that_does_not_come_back(loop):
    did = loop("members", 'case "$2" in --*add) exit 1;; esac', degraded="1")
    assert "removed" in did and not did & {"joined", "whole"}


FAILS = 'grep -q broken && echo faulty,failfast > "${0%/*}/dev-vda/state"; exit 0'


def test_a_glitch_counts_if_the_member_failed_of_it(loop):
    assert {"glitched", "joined"} <= loop("members", "exit 0", FAILS, "in_sync,failfast")
    # it does not care
    assert "glitched" not in loop("members", "exit 0", "exit 0", "in_sync,failfast")
    # the last copy, or one that would try again, is not asked
    assert "glitched" not in loop("members", "exit 0", FAILS, "in_sync,failfast", degraded="1")
    assert "glitched" not in loop("members", "exit 0", FAILS)


def test_idle_in_an_idle_array_aborts_nothing(loop, monkeypatch):
    # the file keeps what was written last: the sync that was begun goes on
    assert {"sync_action", "aborted"} <= loop("syncs", "")
    monkeypatch.setitem(load.LOOPS, "syncs", load.SYNCS.replace("(check repair resync check)",
                                                                "(idle idle idle idle)"))
    assert "aborted" not in loop("syncs", "")


@pytest.mark.parametrize("word", ["removed", "joined", "aborted", "mark", "stalled"])
def test_it_must_have_been_done(word):
    assert word in load.left_out([{**ENOUGH, word: 0}])
    assert load.left_out([ENOUGH]) == []


def test_fail_fast_members_must_have_failed_fast():
    assert load.left_out([ENOUGH, {**ENOUGH, "failfast": True}]) == ["glitched"]
    assert load.left_out([ENOUGH, {**ENOUGH, "failfast": True, "glitched": 1}]) == []


def test_fail_fast_is_on_every_other_round(races, monkeypatch):
    kinds = []

    def one_round(one, _):
        kinds.append((one.level, one.failfast, one.behind))
        return {**ENOUGH, "failfast": one.failfast, "glitched": 1}, ""
    assert races(one_round, minutes=30, kernel=["kasan"], level=[1, 10, 5]) == 0
    assert kinds[:6] == [(1, False, True), (10, True, False), (5, False, False),
                         (1, True, False), (10, False, False), (5, False, False)]


# -- what is remembered -----------------------------------------------------------------------------

@pytest.fixture
def races(tmp_path, monkeypatch):
    """Campaigns whose rounds are the given functions, with kernels that are not built."""
    modules = {"LLBITMAP_MODULES": "/modules-1"}
    monkeypatch.setattr(campaign, "build_dir", lambda: tmp_path)
    monkeypatch.setattr(campaign.debug, "build", lambda flavour, bug="": {**modules, "FLAVOUR": flavour})
    monkeypatch.setattr(os, "environ", dict(os.environ))
    played = []

    def run(one_round=lambda one, flavour: (ENOUGH, ""), minutes=4, **options):
        def play(one, flavour, _):
            played.append((flavour, one.level, one.seconds))
            return one_round(one, flavour)

        monkeypatch.setattr(campaign, "one_round", play)
        played.clear()
        return campaign.carry_out(argparse.Namespace(**{
            "kernel": None, "minutes": minutes, "seed": None, "level": None, "jobs": 1,
            "broken": "", "tests": [], "long": False, **options}))

    run.played, run.modules = played, modules
    return run


def interrupt_at(flavour, number):
    """A round that Ctrl-C ends: the one with this number on this kernel."""
    count = []

    def one_round(_, now):
        count.append(now)
        if count.count(flavour) == number:
            raise KeyboardInterrupt
        return ENOUGH, ""
    return one_round


def test_each_level_has_its_share(races):
    assert races(minutes=5) == 0
    assert [(flavour, level) for flavour, level, _ in races.played] == \
        [(flavour, level) for flavour in ("kasan", "kcsan") for level in (1, 10, 5, 6)]


def test_a_level_that_did_nothing_is_told_of(races, capsys):
    def lazy(one, _):
        return {**ENOUGH, "joined": int(one.level != 6)}, ""
    assert races(lazy) == 1
    assert "RAID6" in capsys.readouterr().out


def test_what_is_over_does_not_begin_anew_while_the_rest_goes_on(races):
    with pytest.raises(KeyboardInterrupt):
        races(interrupt_at("kcsan", 2))
    assert races() == 0
    assert {flavour for flavour, *_ in races.played} == {"kcsan"}
    assert len(races.played) == 3
    # all of it is over: from the beginning
    assert races() == 0
    assert len(races.played) == 8


def test_a_finding_before_ctrl_c_is_a_finding(races):
    def bad(one, flavour):
        if one.level == 10:
            raise KeyboardInterrupt
        return ENOUGH, "a race"
    with pytest.raises(KeyboardInterrupt):
        races(bad)
    assert races() == 1


def test_a_file_of_tests_that_failed_before_ctrl_c_is_a_finding(races, monkeypatch):
    monkeypatch.setattr(campaign, "one_file", lambda path, _: (path, False, "it failed", {}))
    with pytest.raises(KeyboardInterrupt):
        races(interrupt_at("kasan", 1), tests=["test_a.py"])
    monkeypatch.setattr(campaign, "one_file", lambda path, _: (path, True, "passed", {}))
    assert races(tests=["test_a.py"]) == 1


@pytest.fixture
def file_of(tmp_path):
    """A file of tests as those of the VM are, and one test more that is long and not for a level."""
    def write(*levels):
        path = tmp_path / "test_a.py"
        path.write_text(f"""
import pytest
@pytest.fixture(autouse=True)
def named(request, record_property):
    level = getattr(request.node, "callspec", None)
    if level:
        record_property("level", level.params["level"])
@pytest.mark.parametrize("level", {levels})
def test_a(level): pass
@pytest.mark.parametrize("level", [pytest.param(6, marks=pytest.mark.long)])
def test_b(level): pass
@pytest.mark.skip
@pytest.mark.parametrize("level", [10])
def test_c(level): pass
def test_d(): pass
""", encoding="utf-8")
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long\n", encoding="utf-8")
        return str(path)
    return write


def test_what_passed_is_told_by_level(races, file_of, capsys):
    assert races(tests=[file_of(1, 1, 5)], kernel=["kasan"]) == 0
    said = capsys.readouterr().out
    assert "passed: 2 (level 1), 1 (level 5), 1 (no level); 1 were" in said
    assert "RACES_LONG=1" in said


def test_with_the_long_ones_each_level_must_have_some(races, file_of, capsys):
    """And what was run without them is run again."""
    path = file_of(1, 1, 5)
    with pytest.raises(KeyboardInterrupt):
        races(interrupt_at("kasan", 1), tests=[path], kernel=["kasan"])
    assert races(tests=[path], kernel=["kasan"], long=True) == 1
    said = capsys.readouterr().out
    assert "1 (level 6)" in said and "no test of the VM passed on RAID10" in said
    assert "RACES_LONG" not in said
    path = file_of(1, 10, 5)
    assert races(tests=[path], kernel=["kasan"], long=True) == 0


def test_what_was_done_on_other_modules_does_not_count(races):
    with pytest.raises(KeyboardInterrupt):
        races(interrupt_at("kcsan", 1))
    races.modules["LLBITMAP_MODULES"] = "/modules-2"
    assert races() == 0
    assert len(races.played) == 8


def test_a_planted_bug_must_be_found(races, monkeypatch):
    monkeypatch.setattr(campaign.debug, "seen_as", lambda bug: "data-race in (a|b)")
    one = {"kernel": ["kcsan"], "broken": "some"}
    # the load need not have done everything by then
    assert races(lambda one, flavour: ({}, "BUG: KCSAN: data-race in b"), **one) == 0
    assert len(races.played) == 1
    assert races(**one) == 1
    # something else does not count, and does not end it
    assert races(lambda one, flavour: ({}, "no such file"), **one) == 1
    assert len(races.played) == 4


@pytest.mark.parametrize("bug", campaign.debug.BUGS)
def test_it_is_known_what_a_planted_bug_looks_like(bug):
    re.compile(campaign.debug.seen_as(bug))


def test_rounds_of_another_key_are_dropped(tmp_path):
    path = tmp_path / "rounds.json"
    Rounds.load(path, 5, key="a").add(number=1)
    assert len(Rounds.load(path, 5, key="a").done) == 1
    assert Rounds.load(path, 5, key="b").done == []
    path.write_text(json.dumps({"seed": 5, "done": [{"number": 1}]}), encoding="utf-8")
    assert Rounds.load(path, 5, key="a").done == []


# -- what is judged ---------------------------------------------------------------------------------

def member(level, disks, chunk_sectors=128):
    return SimpleNamespace(level=level, raid_disks=disks, layout=2, size=1 << 16,
                           chunk_sectors=chunk_sectors,
                           bitmap=lambda: SimpleNamespace(chunksize=64))


@pytest.mark.parametrize("level, disks, first, sector, chunk", [
    (1, 3, 0, 70, 1), (1, 3, 64, 70, 2), (10, 4, 0, 70, 1), (5, 3, 0, 70, 1), (5, 3, 0, 128, 0),
    (5, 3, 0, 2 * 128 + 64, 3), (5, 3, 128, 128 + 64, 3), (6, 4, 0, 2 * 128 + 64, 3)])
def test_unwritten_where_data_are(level, disks, first, sector, chunk):
    wanted = [0] * 1000
    wanted[sector] = 17
    state = struct.pack("<1000I", *wanted)
    states = bytearray([load.CLEAN] * 8)
    assert load.unwritten_data(state, first, bytes(states), member(level, disks)) == []
    states[chunk] = 0
    assert load.unwritten_data(state, first, bytes(states), member(level, disks)) == [chunk]


def test_a_chunk_without_data_may_be_unwritten():
    assert load.unwritten_data(bytes(4000), 0, bytes(16), member(1, 2)) == []


@pytest.mark.parametrize("level", load.LEVELS)
def test_the_writers_meet_where_the_pages_do(level):
    """Their space is on both sides, and within the array."""
    for seed in range(50):
        one = load.Round(level, seed, 60)
        image = SimpleNamespace(**{**vars(member(level, load.LEVELS[level])),
                                   "layout": 0x102 if level == 10 else 2, "size": load.SIZE * 2})
        last = one.first + one.kib * 2 - 1
        counted = load.place_in(image) if level in load.PARITY else int
        assert counted(one.first) < load.PAGE_END <= counted(last)
        assert load.place_in(image)(last) < load.SIZE * 2
