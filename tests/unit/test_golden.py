# SPDX-License-Identifier: GPL-2.0-or-later
"""Golden recordings of real runs: they pass, and each doctored twin fails for its own reason."""
import pytest

from conftest import TOP

NAMES = ("crash-and-resync", "create-and-write", "degrade-and-re-add", "discards", "grow-and-shrink",
         "spare-recovery")


@pytest.fixture(params=NAMES)
def golden(request):
    return TOP / "tests/recordings" / f"{request.param}.llbrec"


def test_all_are_here():
    assert sorted(path.stem for path in (TOP / "tests/recordings").glob("*.llbrec")) == sorted(NAMES)


def test_passes(tool, golden):
    result = tool("replay", "--json", golden)
    assert (result.status, result.json["verdict"]) == (0, "pass"), result.out
    assert result.json["events"]["transition"] > 0
    assert "-dirty" not in result.json["about"], "made by a tool that no commit has"


@pytest.mark.parametrize("kind, rules", [
    ("illegal", {"table"}), ("context", {"drained-clean", "degraded-write"}),
    ("continuity", {"continuity"})])
def test_violation(tool, golden, doctor, kind, rules):
    result = tool("replay", "--json", doctor(kind, golden))
    assert result.status == 1
    assert set(result.json["broken"]) <= rules and len(result.json["broken"]) == 1


def test_array_grows_without_event(tool, doctor):
    result = tool("replay", "--json", doctor("size", TOP / "tests/recordings/grow-and-shrink.llbrec"))
    assert result.status == 1
    assert "range" in result.json["broken"]


@pytest.mark.parametrize("kind, doubt", [("gap", "gap"), ("loss", "loss"), ("truncated", "cut")])
def test_doubt(tool, golden, doctor, kind, doubt):
    result = tool("replay", "--json", doctor(kind, golden))
    assert (result.status, result.json["verdict"]) == (3, "inconclusive")
    assert doubt in result.json["doubts"] and result.json["violations"] == 0
    for view in ("trace", "top", "hist"):
        result = tool("replay", "--as", view, doctor(kind, golden))
        assert result.status == 3 and result.err.count("\n") == 1, view


@pytest.mark.parametrize("kind", ["corrupt", "newer"])
def test_unreadable(tool, golden, doctor, kind):
    assert tool("replay", doctor(kind, golden)).status == 5


def test_views_agree(tool, golden):
    """audit, top, hist and trace tell the same of one run."""
    report = tool("replay", "--json", golden).json
    arrays = tool("replay", "--json", "--as", "top", golden).json["arrays"]
    hists = {h["name"]: h for h in
             tool("replay", "--json", "--as", "hist", golden).json["histograms"]}
    trace = tool("replay", "--json", "--as", "trace", golden).documents
    assert len(trace) == sum(report["events"].values())
    assert sum(a["transitions"] for a in arrays) == report["events"]["transition"]
    assert sum(a["bitmap_writes"] for a in arrays) == hists["bitmap_write"]["count"]
    for array in arrays:
        assert sum(array["counts"].values()) == array["chunks"]
    cells = {(c["from"], c["action"]): c["chunks"] for c in report["coverage"]["cells"]}
    assert cells["Dirty", "Daemon"] == sum(a["changes"]["Daemon"] for a in arrays)
    assert cells["Dirty", "Daemon"] == sum(
        e["count"] for e in trace if e["event"] == "transition" and e["action"] == "Daemon")
    assert 0 < hists["dirty"]["count"] <= cells["Dirty", "Daemon"]
