# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make stateful` remembers after Ctrl-C, and what not; without a VM."""
import importlib.util
import json
import pathlib
import types

import pytest


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """campaign(findings, key): its exit status, when each round of it finds as much."""
    spec = importlib.util.spec_from_file_location(
        "stateful_campaign", pathlib.Path(__file__).with_name("campaign.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "build_dir", lambda: tmp_path)

    def run(findings, key="kernel modules-1", scripts=2, seed=None, broken=None):
        def one_round(stage, level, seed, progress, options, seconds):
            progress.add(level=level, seed=seed, scripts=1, operations=3, names={"write": 3},
                         findings=findings)
        monkeypatch.setattr(module, "one_round", one_round)
        monkeypatch.setattr(module, "Boots", lambda broken: types.SimpleNamespace(
            key=lambda: key, close=lambda: None))
        return module.carry_out(types.SimpleNamespace(
            broken=broken, seed=seed, minutes=1, examples=scripts, level=None))
    return run


def played(tmp_path):
    return len(json.loads((tmp_path / "stateful" / "progress.json").read_text())["done"])


def test_findings_are_not_forgotten(campaign, tmp_path, capsys):
    assert campaign(1, scripts=1) == 1
    assert campaign(0, scripts=3) == 1, "what was found before Ctrl-C is forgotten"
    assert played(tmp_path) == 3
    assert "RAID1: write 3, " in capsys.readouterr().out


def test_other_modules_begin_anew(campaign, tmp_path):
    campaign(1, scripts=3)
    assert campaign(0, key="kernel modules-2") == 0
    assert played(tmp_path) == 2


def test_a_planted_bug_has_to_be_found(campaign, tmp_path):
    assert campaign(0, broken="some-bug") == 1
    assert campaign(1, broken="some-bug") == 0
    assert not (tmp_path / "stateful" / "progress.json").exists()
