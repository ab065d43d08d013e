# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing is lost at full speed; and a loss is a figure that is missed, not the end of the bench."""
import json
import types

import pytest

import bench
import loss
from figure import Figure
from instructions import AUDIT, Watchers

NOTHING = {"lost": {"ringbuf": 0}, "missing": 0}


@pytest.mark.long
@pytest.mark.vm(**loss.TWO_CPUS)
def test_nothing_is_lost(vm):
    figure, = loss.measure(vm, True)
    print(figure.name)
    assert figure.met


@pytest.mark.parametrize("where, more", [
    (0, {"lost": {"ringbuf": 3}}), (0, {"missing": 2}), (1, {"lost": 5}), (2, {"missing": 1})])
def test_loss_is_missed(where, more):
    said = [dict(NOTHING), {"lost": 0}, dict(NOTHING)]
    assert Figure("lost", "events", loss.lost(*said), 0, "").met
    said[where].update(more)
    assert not Figure("lost", "events", loss.lost(*said), 0, "").met


class NoVM:
    """Answers as a VM in which one watcher is attached, and ends with a status."""

    scale = 1

    def __init__(self, status):
        self.status = status

    def run(self, _command):
        return types.SimpleNamespace(stdout='[{"name": "on_transition"}]')

    def spawn(self, _command, timeout):
        ended = types.SimpleNamespace(rc=self.status, stdout="{}")
        return types.SimpleNamespace(signal=lambda _: None, wait=lambda check: ended)


def test_statuses_of_watchers():
    with Watchers(NoVM(3), AUDIT, statuses=(0, 3)) as watchers:
        pass
    assert watchers.stdout == ["{}"]
    for status, statuses in ((3, (0,)), (1, (0, 3))):
        with pytest.raises(RuntimeError, match=f"ended with {status}"):
            with Watchers(NoVM(status), AUDIT, statuses=statuses):
                pass


def test_finished_figures_are_shown(monkeypatch, capsys):
    def breaks_off(_quick):
        yield Figure("first", "things", 1, 2, "")
        raise RuntimeError("and no further")

    monkeypatch.setattr(bench, "GROUPS", {
        "bad": breaks_off, "good": lambda _: [Figure("second", "things", 1, 2, "")]})
    assert bench.main(["--json"])
    document = json.loads(capsys.readouterr().out)
    assert [figure["name"] for figure in document["figures"]] == ["first", "second"]
    assert document["unfinished"] == {"bad": "RuntimeError: and no further"}
    assert bench.main([])
    shown = capsys.readouterr().out
    assert "second" in shown and "bad was not finished: RuntimeError: and no further" in shown
    assert not bench.main(["good"])
