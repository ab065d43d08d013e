# SPDX-License-Identifier: GPL-2.0-or-later
"""The model alone, without a VM: that it says what the specification says, and that every script
can be played on an array that does just that."""
import collections
import copy
import itertools
import random
import time
import zlib

import pytest

from sidebyside.broken import is_seen
from sidebyside.contents import content
from sidebyside.model import CLEAN, DIRTY, MUST, NEEDSYNC, NO, SYNCING, UNWRITTEN, Model
from sidebyside.operations import OPERATIONS
from sidebyside.play import Finding, Play
from sidebyside.rig import Sight
from sidebyside.search import ESSENTIAL, Search
from sidebyside.shape import ALL_DISKS, DISKS, Shape
from sidebyside.strategy import scripts


def model(level, states, **fields):
    one = Model(level, clean=True)
    one.states = states + [CLEAN] * (one.shape.chunks - len(states))
    for name, value in fields.items():
        setattr(one, name, value)
    one.begin()
    return one


def first(one, count):
    return [next(iter(states)) if len(states) == 1 else states for states in one.allowed[:count]]


ALL = [UNWRITTEN, CLEAN, DIRTY, NEEDSYNC, SYNCING]


@pytest.mark.parametrize("level, missing, wanted", [
    (1, 0, [DIRTY, DIRTY, DIRTY, NEEDSYNC, SYNCING]),
    (1, 1, [NEEDSYNC, NEEDSYNC, DIRTY, NEEDSYNC, SYNCING]),
    (10, 0, [DIRTY, DIRTY, DIRTY, NEEDSYNC, SYNCING]),
    (5, 0, [NEEDSYNC, DIRTY, DIRTY, NEEDSYNC, SYNCING]),
    (6, 1, [NEEDSYNC, NEEDSYNC, DIRTY, NEEDSYNC, SYNCING])])
def test_write(level, missing, wanted):
    one = model(level, ALL)
    for disk in range(missing):
        one.leave(disk)
    one.write(8, 5 * one.shape.unit - 16)
    assert first(one, 5) == wanted


def test_discard():
    one = model(1, ALL)
    one.discard(0, 5 * 128 - 1)         # all of the chunks but the last one's last sector
    assert first(one, 5) == [UNWRITTEN, DIRTY, DIRTY, NEEDSYNC, SYNCING]
    one.expect_syncs("idle")
    assert one.allowed[1] == {DIRTY, UNWRITTEN} and one.allowed[4] == {SYNCING}
    one = model(1, ALL)
    one.leave(0)
    one.discard(0, 5 * 128)
    one.expect_syncs("idle")
    assert first(one, 5) == [UNWRITTEN, NEEDSYNC, DIRTY, NEEDSYNC, SYNCING]


def test_discard_with_parity():
    """Four chunks of 32 KiB are the granularity with three data disks, and a chunk of the bitmap is
    six of them: every second one begins in the middle, and no discard has it as a whole."""
    one = model(5, [UNWRITTEN] * 4)
    one.discard(384, 2 * 384)
    assert first(one, 4) == [UNWRITTEN, NEEDSYNC, UNWRITTEN, UNWRITTEN]
    assert one.discarding == {2} and one.stored == {1}
    assert Shape(10).discards_of(64, 512) == [(64, 512)]
    # whole stripes of 192 sectors, of what is before 512 and of what is behind it
    assert Shape(5).discards_of(384, 100) == []
    assert Shape(5).discards_of(384, 192) == []
    assert Shape(6).discards_of(384, 768) == [(576, 576)]
    assert Shape(6).discards_of(0, 400) == [(0, 384)]
    assert Shape(6).discards_of(192, 600) == [(384, 384)]
    one = model(1, [UNWRITTEN] * 4)
    one.discard(128, 128)
    assert first(one, 4) == [UNWRITTEN] * 4


def test_a_discard_that_is_over_is_not_late():
    one = model(6, [NEEDSYNC, DIRTY])
    one.discard(0, 2 * one.shape.unit)
    assert one.stored == {0, 1}
    one.saw([UNWRITTEN, DIRTY] + [CLEAN] * 14, one.roles, "idle")
    assert one.stored == {1} and one.discarding == {1}


def test_flush():
    one = model(1, ALL)
    one.clean()
    assert first(one, 5) == [UNWRITTEN, CLEAN, CLEAN, NEEDSYNC, SYNCING]
    one.leave(0)
    one.begin()
    one.clean()
    assert first(one, 5) == ALL


def test_mark_and_load():
    one = model(1, ALL)
    one.mark(0, 5)
    assert first(one, 5) == [UNWRITTEN] + [NEEDSYNC] * 4
    one.settled()
    assert first(one, 5) == [UNWRITTEN] + [DIRTY] * 4
    one = model(1, ALL)
    one.load()
    assert first(one, 5) == [UNWRITTEN, CLEAN, NEEDSYNC, NEEDSYNC, NEEDSYNC]


def test_a_load_is_looked_at():
    """Before any resync makes Dirty what stayed so, and what was written by then."""
    rig = Obedient(0)
    rig.play = Blind(rig)
    rig.play.run([("create", 1, 1), ("write", 0, 0, 1), ("cut", 0, 1)])
    rig.states = lambda: [DIRTY] + [CLEAN] * 15
    script = [("create", 1, 1), ("write", 0, 0, 1), ("cut", 0, 0)]
    rig.play.run(script)
    script[2] = ("cut", 0, 1)
    with pytest.raises(Finding, match="as it was loaded, chunk 0 is Dirty, not NeedSync") as caught:
        rig.play.run(script)
    assert is_seen("dirty-stays-dirty-at-load", caught.value.text)
    rig = Obedient(0)
    rig.play = Blind(rig)
    frozen = iter([[b""] * ALL_DISKS, [b"", b"new"] + [b""] * 4])
    rig.freeze_disks = lambda: next(frozen)
    with pytest.raises(Finding, match=r"a read-only load writes to disks \[1\]"):
        rig.play.run(script)


def test_what_may_be_torn():
    """What will be synced, and where md finds out what is right."""
    one = model(1, [CLEAN, DIRTY, NEEDSYNC, DIRTY])
    assert one.may_be_torn() == []
    one.write(0, 1)
    one.contents.write(128, 5)
    one.contents.write(3 * 128 + 2, 1)
    one.allowed[0] = {CLEAN}
    assert one.may_be_torn() == [(2, 132), (2, 386)]
    one.allowed[1] = {DIRTY, CLEAN}         # the members' bytes differ
    assert one.may_be_torn() == [(2, 386)]
    one.leave(0)
    assert one.may_be_torn() == []
    one = model(10, [DIRTY])
    one.write(8, 1)
    assert one.may_be_torn() == [(1, 8)]
    assert model(5, [CLEAN, DIRTY]).may_be_torn() == [(1, 128), (0, 192)]
    assert model(6, [NEEDSYNC]).may_be_torn() == [(4, 0), (0, 0), (3, 64), (4, 64)]


def test_a_mark_of_nothing_asks_for_nothing():
    """A write under a sync that is held, to a parity array: it waits for the daemon."""
    one = model(5, [UNWRITTEN] * 16, held=True, hold_at=4)
    one.mark(8, 2)
    one.saw([UNWRITTEN] * 16, one.roles, "idle")
    one.begin()
    one.write(0, 1)
    one.held = False
    assert not one.sync_is_due()
    one.expect_syncs("idle")
    assert first(one, 2) == [{DIRTY, NEEDSYNC}, UNWRITTEN]


def test_set_bits():
    """Startwrite; but nobody writes, so what was discarded may still become Unwritten."""
    one = model(5, ALL)
    one.discarding = {2}
    one.set_bits(0, 5)
    assert first(one, 5) == [NEEDSYNC, DIRTY, DIRTY, NEEDSYNC, SYNCING]
    one.expect_syncs("frozen")
    assert one.allowed[2] == {DIRTY, UNWRITTEN}
    one = model(1, ALL)
    one.leave(0)
    one.set_bits(0, 3)
    assert first(one, 3) == [NEEDSYNC, NEEDSYNC, DIRTY]


@pytest.mark.parametrize("level, states, missing, wanted", [
    (1, [UNWRITTEN, CLEAN, DIRTY], 0, CLEAN),
    (1, [UNWRITTEN, NEEDSYNC], 0, {CLEAN, NEEDSYNC}),
    (10, [UNWRITTEN, DIRTY], 1, NEEDSYNC),
    (5, [CLEAN, DIRTY], 0, CLEAN),
    (6, [CLEAN, UNWRITTEN], 0, {CLEAN, NEEDSYNC}),
    (6, [CLEAN], 2, NEEDSYNC)])
def test_new_bitmap(level, states, missing, wanted):
    """Nothing is Unwritten, and Clean only what is equal."""
    one = model(level, states)
    for disk in range(missing):
        one.leave(2 * disk)
    one.new_bitmap()
    assert first(one, 3) == [wanted] * 3 and one.wanted == (NO if wanted == CLEAN else MUST)


def test_what_must_be_stored():
    one = model(1, ALL)
    one.write(8, 1)
    one.mark(0, 2)                      # the write made the first one Dirty
    assert one.stored == {0, 1}
    one.begin()
    one.mark(0, 1)                      # stays Unwritten
    one.discard(2 * 128, 128 + 1)
    assert one.stored == {2, 3}
    one.begin()
    assert one.stored == set()


@pytest.mark.parametrize("level, pairs", [(1, 3), (10, 4), (5, 0), (6, 10)])
def test_two_failures(level, pairs):
    """Each pair that the array can lose, and no other."""
    found = set()
    for number in range(12):
        rig = Obedient(number)
        rig.play = Blind(rig)
        done = rig.play.run([("create", level, 1), ("fail_two", number)])
        if len(done) == 2:
            found.add(tuple(rig.play.model.out))
    assert len(found) == pairs
    assert not found & ({(0, 1), (2, 3)} if level == 10 else set())


def test_syncs():
    one = model(1, ALL, frozen=True, wanted=MUST)
    one.expect_syncs("frozen")
    assert first(one, 5) == ALL
    one = model(1, [DIRTY, NEEDSYNC], held=True)
    one.leave(0)
    one.pending = [0]
    one.expect_syncs("recover")         # two copies are in-sync: resync-first
    assert first(one, 2) == [{DIRTY, SYNCING}, NEEDSYNC]
    one = model(5, [DIRTY, NEEDSYNC], wanted=MUST)
    one.leave(0)
    one.expect_syncs("idle")
    assert first(one, 2) == [DIRTY, {DIRTY, NEEDSYNC}]


def test_what_a_sync_has_passed_waits_for_the_daemon():
    """The first write to a chunk of a parity array, behind a resync that is held."""
    one = model(5, [UNWRITTEN] + [CLEAN] * 8, wanted=MUST, held=True, hold_at=4, syncing=True)
    one.mark(5, 1)
    one.write(0, 1)
    one.held = False
    one.expect_syncs("idle")
    assert first(one, 1) == [{DIRTY, NEEDSYNC}] and not one.sync_is_due()
    one.saw([NEEDSYNC] + [DIRTY] * 15, one.roles, "idle")
    one.begin()
    assert not one.sync_is_due()
    one.want()
    one.settled()
    assert first(one, 1) == [DIRTY]
    one = model(5, [UNWRITTEN] + [CLEAN] * 8, wanted=MUST, held=True, hold_at=4, syncing=True)
    one.write(5 * one.shape.unit, 1)        # it is still to come there
    assert one.sync_is_due()


def test_resize():
    one = model(5, [], wanted=NO)
    one.resize(800)
    assert one.shape.chunks == len(one.allowed) == 13
    one.states = [CLEAN] * 13
    one.begin()
    one.resize(1024)
    assert first(one, 16) == [CLEAN] * 12 + [NEEDSYNC] + [UNWRITTEN] * 3
    assert len(one.contents.live) == one.shape.sectors


@pytest.mark.parametrize("level", DISKS)
def test_shapes(level):
    shape = Shape(level)
    assert shape.whole_chunks_of(shape.unit - 1, shape.unit + 1) == [1]
    last = shape.chunks - 1
    assert shape.whole_chunks_of(last * shape.unit, shape.sectors - last * shape.unit) == [last]
    assert list(shape.chunks_of(shape.unit - 1, 2)) == [0, 1]
    present = range(shape.disks)
    assert shape.can_lose(present, 0)
    left = [role for role in present if role not in (0, 1)]
    assert shape.can_lose(left + [1], 1) == (level in (1, 6))


def test_contents():
    one = Model(1, True)
    one.write(5, 10)
    one.write(8, 2)
    one.contents.forget(12, 1)
    assert one.contents.runs() == [(5, 7), (13, 2)]
    assert one.contents.expected(7, 2) == content(1, 7, 1) + content(2, 8, 1)


class Obedient:
    """A rig without array, which does what the model expects."""

    class vm:
        scale = 1
        usable = staticmethod(lambda: True)

    def __init__(self, seed):
        self.play = None
        self.read_only = False
        self.random = random.Random(seed)

    def create(self, *_):
        pass

    destroy = cut = kill = read_write = tear = create

    def trouble(self):
        return ""

    def device(self, disk):
        return "/dev/vd" + "abcdef"[disk]

    def mdadm(self, *words, seconds=0):
        if words[0].startswith("--read"):
            self.read_only = words[0] == "--readonly"
        return [0, ""]

    def stop(self):
        return [0, ""]

    remove_bitmap = stop

    def add_bitmap(self, *_):
        return None

    def freeze_disks(self):
        return [b""] * ALL_DISKS

    def states(self):
        """What was loaded."""
        return [min(states) for states in self.play.model.allowed]

    def assemble(self, *_):
        return [0, ""]

    def ask(self, *requests):
        return [self.answer(*request) for request in requests]

    def answer(self, verb, *arguments):
        if verb == "write":
            return next(count * 512 for count in [self.play.wrote])
        if verb == "set" and arguments[1] in ("0", "3601") and "daemon" in arguments[0] or \
                arguments[-1:] == ("3601",):
            return "EINVAL"
        if verb == "set" and self.read_only:
            return "EROFS"
        if arguments == ("bitmap/location",):
            return "none"
        return {"settle": True, "wait_in_sync": True, "get": "0"}.get(verb)

    def look(self, *before):
        expected = copy.deepcopy(self.play.model)
        expected.expect_syncs("idle")
        roles = dict(expected.roles)
        if not expected.frozen and not expected.held:
            free = [role for role in range(expected.shape.disks) if role not in roles]
            roles.update(zip(free, expected.pending))
        assert all(expected.allowed)
        sums = [zlib.crc32(self.play.model.contents.expected(*one)) for one in before[1][1]]
        states = [self.random.choice(sorted(states)) for states in expected.allowed]
        return [True, sums], Sight(states, roles, [], "idle", expected.shape.disks - len(roles),
                                   expected.shape.sectors, dict(expected.settings))


class Blind(Play):
    """Without members to look at."""

    wrote = 0

    def must(self, *request, answer=None):
        if request[0] == "write":
            self.wrote = answer // 512
        super().must(*request, answer=answer)

    def compare(self):
        pass

    must_store = must

    def bytes_on_disks(self):
        states = [min(states) for states in self.model.allowed]
        return {disk: states for disk in self.model.roles.values()}


@pytest.mark.parametrize("level", DISKS)
def test_every_script_can_be_played(level):
    """And most of what is drawn is possible, all of the first script."""
    drawn, done = collections.Counter(), collections.Counter()
    for number, script in enumerate(itertools.islice(
            scripts(random.Random(level), level, kills=True), 40)):
        rig = Obedient(repr(script))
        rig.play = Blind(rig)
        played = [name for name, *_ in rig.play.run(script)]
        drawn.update(name for name, *_ in script)
        done.update(played)
        assert number or set(ESSENTIAL) <= set(played)
    assert sum(done.values()) > 0.9 * sum(drawn.values())
    assert OPERATIONS.keys() - done.keys() == ({"fail_two"} if level == 5 else set())


@pytest.mark.parametrize("passages, each", [(5, 5), (8, 8)])
def test_what_is_drawn(passages, each):
    """As many small searches draw it: no script twice, none of which half is one thing, and all
    operations; each number in all of its values."""
    drawn = [script for seed in range(20) for level in DISKS
             for script in itertools.islice(scripts(random.Random(f"{seed} {level}"), level, passages,
                                                    kills=True), each)]
    assert len(set(map(repr, drawn))) == len(drawn)
    for script in drawn:
        _, most = collections.Counter(script).most_common(1)[0]
        assert len(script) > 5 and most * 2 < len(script)
    writes = {one for script in drawn for one in script if one[0] == "write"}
    assert [len(set(values)) for values in zip(*writes)] == [1, 32, 7, 8]
    for level in DISKS:
        names = {name for script in drawn if script[0][1] == level for name, *_ in script}
        assert names == {"create", *OPERATIONS}, level


def test_a_finding_shows_the_script():
    rig = Obedient(0)
    rig.play = Blind(rig)
    rig.trouble = lambda: "BUG: something"
    with pytest.raises(Finding, match="something") as caught:
        rig.play.run([("create", 1, 1), ("thaw",), ("flush",)])
    assert caught.value.script == [("create", 1, 1), ("flush",)]
    assert '[("create", 1, 1),' in str(caught.value).replace("'", '"')


def test_interrupted_in_the_middle():
    """Nothing more is asked of the player, and the interrupt comes through."""
    def interrupt(*_):
        raise KeyboardInterrupt
    rig = Obedient(0)
    rig.play, rig.array, rig.cut = Blind(rig), "md0", interrupt
    with pytest.raises(KeyboardInterrupt):
        rig.play.run([("create", 1, 1), ("cut", 0, 0)])
    assert rig.array is None


class Fragile:
    """A stage on which a discard after a failure is one too many."""

    def play(self, script):
        failed = False
        for at, (name, *_) in enumerate(script):
            failed = failed or name == "fail"
            if failed and name == "discard":
                raise Finding(script[:at + 1], "it broke")
        return script


def test_a_reason_is_what_does_not_change_with_the_place():
    reasons = [Finding([], text).reason for text in (
        "chunk 3 is Clean, not Dirty", "chunk 12 is Clean, not Dirty; chunk 14 is Dirty, not Clean",
        "chunk 3 is Clean, not Unwritten", "mdadm --remove /dev/vda: busy",
        "mdadm --remove /dev/vdb: busy")]
    assert reasons[0] == reasons[1] and reasons[3] == reasons[4]
    assert reasons[0] != reasons[2] != reasons[3]


def test_search_shortens():
    search = Search(Fragile(), 1, 5, tell=lambda text: None)
    script = search.run(200, 60).script
    assert [name for name, *_ in script] == ["create", "fail", "discard"]
    assert script[1] == ("fail", 0)
    again = Search(Fragile(), 1, 5, tell=lambda text: None)
    assert again.run(200, 60).script == script, "the seed does not give the same"


def test_search_goes_on():
    """After so many scripts: with the next ones."""
    def played(begin, examples):
        stage, found = Patient(), []
        stage.play = lambda script: found.append(script) or script
        Search(stage, 1, 5, begin).run(examples, 60)
        return found
    assert played(0, 3) + played(3, 4) == played(0, 7)


def test_search_keeps_to_what_it_found():
    """Shorter scripts that fail in another way are other findings."""
    class Touchy(Fragile):
        def play(self, script):
            done = super().play(script)
            if "cut" not in {name for name, *_ in script}:
                raise Finding(script, "it is lost")
            return done

    search = Search(Touchy(), 1, 5)
    search.fails([("create", 1, 1), ("flush",), ("cut", 0, 0), ("fail", 2), ("flush",),
                  ("discard", 1, 1), ("flush",)])
    search.shorten(time.monotonic() + 60)
    assert search.finding.text == "it broke"
    assert [name for name, *_ in search.finding.script] == ["create", "fail", "discard"]


class Patient:
    """A stage on which nothing fails, and some things are not possible."""

    def __init__(self, *impossible):
        self.impossible = impossible

    def play(self, script):
        return [one for one in script if one[0] not in self.impossible]


def test_search_finds_nothing():
    search = Search(Patient(), 1, 5)
    assert search.run(5, 60) is None and "nothing found" in search.summary()
    assert search.played == 5 and not search.left_out()


def test_search_tells_what_it_left_out():
    search = Search(Patient("resize", "cut"), 1, 5)
    search.run(5, 60)
    assert search.left_out() == ["cut", "resize"]
