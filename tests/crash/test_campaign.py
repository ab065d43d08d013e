# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make crash` takes for enough, and for a violation."""
import argparse

import pytest

import campaign
from vmtest.campaign import Rounds


def progress(**changes):
    """All that is needed, on RAID5 and RAID1; the changes are of the second array of RAID1."""
    one = {"level": 5, "states": 200, "in_flight": 100, "assembled": 6, "checked": 20, "rules": [],
           "violations": 0}
    done = [{**one, "level": level, "what": what} for level in (5, 1)
            for what in ("re_add", "resize", "freeze")]
    done[4] |= changes
    return Rounds(None, 1, done)


def test_enough():
    assert not list(campaign.too_little(progress(), [1, 5]))


@pytest.mark.parametrize("changes, said", [
    ({"in_flight": 99}, "bitmap write in flight"), ({"assembled": 5}, "assembled"),
    ({"checked": 19}, "resize: a rule had only 19"), ({"what": "freeze"}, "no array with a size change"),
    ({"states": 0, "in_flight": 0}, "no array with a size change")])
def test_too_little_on_one_level(changes, said):
    text, = campaign.too_little(progress(**changes), [1, 5])
    assert "RAID1:" in text and said in text


def test_too_small_a_share():
    with_more = progress(states=4000, in_flight=2000, assembled=120)
    text, = campaign.too_little(with_more, [1, 5])
    assert text == "RAID5: less than 15% of all states"


def test_only_what_was_asked_for():
    """With --during nobody asks for other loads."""
    done = [one for one in progress().done if one["what"] == "freeze"]
    assert not list(campaign.too_little(Rounds(None, 1, done), [1, 5], "freeze"))
    assert len(list(campaign.too_little(Rounds(None, 1, done), [1, 5]))) == 4


@pytest.mark.parametrize("level", campaign.DISKS)
def test_everything_happens_before_anything_comes_again(level):
    rounds, names = Rounds(None, 1), set(campaign.loads(level))
    taken = []
    for _ in range(2 * len(names)):
        taken.append(campaign.next_load(rounds, level))
        rounds.add(**campaign.nothing(level, taken[-1], 7), violations=0)
        rounds.add(**campaign.nothing(level, "kernel log", 7), violations=1)
    assert set(taken[:len(names)]) == set(taken[len(names):]) == names
    for needed in campaign.NEEDED.values():
        assert needed & set(taken[:len(campaign.NEEDED)])


def test_each_choice_counts_for_itself():
    levels = sorted(campaign.DISKS)
    choices = [([5], None), ([5], "re_add"), (levels, None), (levels, "re_add"), ([1, 5], None)]
    assert len({campaign.progress_file(argparse.Namespace(level=level, during=during))
                for level, during in choices}) == len(choices)


def test_a_level_without_states():
    assert all("RAID6" in text for text in campaign.too_little(progress(), [1, 5, 6]))
    assert list(campaign.too_little(progress(), [1, 5, 6]))


class NoScene:
    """What one_round() wants of a Scene whose VM is of no use."""

    def __init__(self, *_):
        pass

    def breaks(self, _):
        pass

    def close(self):
        pass

    def trouble(self):
        return ""


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "Scene", NoScene)
    monkeypatch.setattr(campaign, "build_dir", lambda: tmp_path)
    monkeypatch.setattr(campaign.Environment, "tested", lambda _: "ours")
    return argparse.Namespace(states=100, seed=1, level=[1, 5], broken="", during=None)


def test_array_that_cannot_be_assembled_is_a_violation(options, monkeypatch, capsys):
    """And the next round goes on with what is left, where there is the least of it."""
    rounds = []

    def one_array(_scene, level, what, seed, _images):
        rounds.append(level)
        if len(rounds) == 2:
            raise AssertionError("assembly aborted")
        return {**campaign.nothing(level, what, seed), "states": 50, "in_flight": 50,
                "assembled": 5, "violations": 0}, []

    monkeypatch.setattr(campaign, "one_array", one_array)
    assert campaign.carry_out(options) == 1
    assert rounds == [1, 5, 5, 1]
    assert "assembly aborted" in capsys.readouterr().out


def test_campaign_in_which_nothing_works_ends(options, monkeypatch):
    def one_array(*_):
        raise AssertionError("no VM")

    monkeypatch.setattr(campaign, "one_array", one_array)
    assert campaign.carry_out(options) == 1


@pytest.mark.parametrize("rules, status", [(["clean", "state"], 0), (["state"], 1), ([], 1)])
def test_broken_order_is_found_by_its_rule(options, monkeypatch, rules, status):
    """Any other violation is not what was looked for."""
    options.broken = "3"
    monkeypatch.setattr(campaign.orders, "modules", lambda _: "")
    monkeypatch.setattr(campaign, "one_array", lambda _scene, level, what, seed, _images: (
        {**campaign.nothing(level, what, seed), "states": 50, "rules": rules,
         "violations": len(rules)}, rules))
    assert campaign.carry_out(options) == status


def test_break_is_looked_for_where_it_can_be_found():
    for name in campaign.orders.NAMES:
        for level, (during, rule) in campaign.orders.ways(name).items():
            assert during is None or during in campaign.loads(level)
            assert rule
