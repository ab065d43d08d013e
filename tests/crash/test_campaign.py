# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make crash` takes for enough, and for a violation."""
import argparse

import pytest

import campaign
from vmtest.campaign import Rounds


def progress(**changes):
    one = {"level": 5, "states": 200, "in_flight": 100, "assembled": 6, "violations": 0}
    return Rounds(None, 1, [one, {**one, "level": 1, **changes}])


def test_enough():
    assert not list(campaign.too_little(progress(), [1, 5]))


@pytest.mark.parametrize("changes, said", [({"in_flight": 99}, "bitmap write in flight"),
                                           ({"assembled": 5}, "assembled")])
def test_too_little_on_one_level(changes, said):
    text, = campaign.too_little(progress(**changes), [1, 5])
    assert "RAID1:" in text and said in text


def test_a_level_without_states():
    assert all("RAID6" in text for text in campaign.too_little(progress(), [1, 5, 6]))
    assert list(campaign.too_little(progress(), [1, 5, 6]))


class NoScene:
    """What one_round() wants of a Scene whose VM is of no use."""

    def __init__(self, *_):
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
    """And the next round goes on with what is left."""
    rounds = []

    def one_array(_scene, level, what, seed, _images):
        rounds.append(level)
        if len(rounds) == 2:
            raise AssertionError("assembly aborted")
        return {**campaign.nothing(level, what, seed), "states": 50, "in_flight": 50,
                "assembled": 5, "violations": 0}, []

    monkeypatch.setattr(campaign, "one_array", one_array)
    assert campaign.carry_out(options) == 1
    assert rounds == [1, 5, 1, 5]
    assert "assembly aborted" in capsys.readouterr().out


def test_campaign_in_which_nothing_works_ends(options, monkeypatch):
    def one_array(*_):
        raise AssertionError("no VM")

    monkeypatch.setattr(campaign, "one_array", one_array)
    assert campaign.carry_out(options) == 1
