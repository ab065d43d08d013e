# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make stateful` remembers after Ctrl-C, and what not; without a VM."""
import importlib.util
import json
import pathlib
import types

import pytest

from sidebyside.operations import OPERATIONS


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """campaign(findings, key): its exit status, when each round of it finds as much and takes a
    second."""
    spec = importlib.util.spec_from_file_location(
        "stateful_campaign", pathlib.Path(__file__).with_name("campaign.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "build_dir", lambda: tmp_path)

    def run(findings, key="kernel modules-1", scripts=4, seed=None, broken=None, seconds=1000,
            names=dict.fromkeys(OPERATIONS, 3), text=""):
        def one_round(stage, level, progress, examples, seconds):
            progress.add(level=level, scripts=1, operations=3, names=names,
                         findings=findings, seconds=1, text=text)
        monkeypatch.setattr(module, "one_round", one_round)
        monkeypatch.setattr(module, "Boots", lambda broken: types.SimpleNamespace(
            key=lambda: key, close=lambda: None))
        return module.carry_out(types.SimpleNamespace(
            broken=broken, seed=seed, minutes=seconds / 60, examples=scripts, level=None))
    return run


def played(tmp_path):
    return len(json.loads((tmp_path / "stateful" / "progress.json").read_text())["done"])


def test_findings_are_not_forgotten(campaign, tmp_path, capsys):
    assert campaign(1, scripts=1) == 1
    assert campaign(0, scripts=4) == 1, "what was found before Ctrl-C is forgotten"
    assert played(tmp_path) == 4
    assert "RAID1: write 3, " in capsys.readouterr().out


def test_other_modules_begin_anew(campaign, tmp_path):
    campaign(1, scripts=3)
    assert campaign(0, key="kernel modules-2") == 0
    assert played(tmp_path) == 4


def test_what_was_done_counts(campaign, tmp_path):
    """The minutes too: the same command goes on to their end, and then begins anew."""
    campaign(0, scripts=3)
    assert campaign(0, scripts=100, seconds=5) == 0
    assert played(tmp_path) == 5
    assert campaign(0, scripts=100, seconds=4) == 0
    assert played(tmp_path) == 4


def test_each_level_has_its_share(campaign, tmp_path):
    campaign(0, scripts=100, seconds=8)
    rounds = json.loads((tmp_path / "stateful" / "progress.json").read_text())["done"]
    assert sorted(one["level"] for one in rounds) == [1, 1, 5, 5, 6, 6, 10, 10]


def test_what_was_never_done_is_told(campaign, capsys):
    """Of each level; two members of RAID5 cannot fail."""
    every = dict.fromkeys(OPERATIONS, 1)
    assert campaign(0, scripts=3) == 1
    assert "RAID6 does not count: nothing was done of add, back, " in capsys.readouterr().out
    del every["fail_two"]
    assert campaign(0, key="2", names=every) == 1
    told = capsys.readouterr().out
    assert "RAID1 does not count: nothing was done of fail_two;" in told
    assert "RAID5 does not count" not in told


def test_a_planted_bug_has_to_be_found(campaign, tmp_path):
    """As itself: a mistake of the model, and a VM that is lost, are findings as well."""
    bug = "clean-while-degraded"
    assert campaign(0, broken=bug) == 1
    assert campaign(1, broken=bug, text="chunk 3 is Dirty, not NeedSync") == 1
    assert campaign(1, broken=bug, text="VMLost: no answer") == 1
    assert campaign(1, broken=bug, text="chunk 0 is Clean, not Dirty; chunk 1 is ...") == 0
    assert not (tmp_path / "stateful" / "progress.json").exists()
