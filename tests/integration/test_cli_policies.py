"""Policies of a session and their settings, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fico.runtime.policies import live_policies
from helpers.cli import Cli, new_cli


@pytest.fixture
def fico(tmp_path: Path) -> Iterator[Cli]:
    yield from new_cli(tmp_path)


def test_a_session_can_have_every_policy(fico: Cli) -> None:
    fico.tenant("--policy", "fico", "--name", "a")
    assert {"mps", "static", "fico", "reef", "krisp", "orion", "lithos"} < set(live_policies())
    for policy in live_policies():
        assert fico("set", "--policy", policy).code == 0
        assert f", policy {policy}, 1 tenant" in fico("status").out


def test_settings_are_set_and_shown(fico: Cli) -> None:
    fico.tenant("--name", "a")
    options = ("--setting", "span_us=100", "--setting", "split=0")
    assert fico("set", "--policy", "fico", *options).code == 0
    (session,) = fico.status()
    assert session["policy"] == "fico"
    assert session["policy_settings"] == {"span_us": 100, "split": 0}
    assert "policy fico[span_us=100,split=0]" in fico("status").out
    # Who asks for no settings takes those there are.
    assert fico("run", "--policy", "fico", "--", "true").code == 0
    assert fico("set", "--policy", "orion", "--setting", "longest_hold_us=100000").code == 0
    (session,) = fico.status()
    assert session["policy_settings"] == {"longest_hold_us": 100_000}


def launch_file(fico: Cli, head: str) -> str:
    (fico.folder / "t.toml").write_text(f'{head}\n[[tenant]]\ncommand = "true"\n')
    return "t.toml"


def test_a_launch_file_has_settings(fico: Cli) -> None:
    path = launch_file(fico, 'policy = "fico"\n[settings]\nspan_us = 100')
    assert fico("launch", path).code == 0
    (session,) = fico.status()
    assert session["policy_settings"] == {"span_us": 100}
    assert fico("launch", path).code == 0
    done = fico("launch", launch_file(fico, 'policy = "fico"\nsettings = { order = 0 }'))
    assert done.code == 1
    assert "has policy fico[span_us=100], not fico[order=0]; " in done.line
    assert "'fico set --policy fico --setting order=0'" in done.line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run --policy fair -- true", "policy 'fair' is not known; choose from mps, static,"),
        ("run --policy timeslice -- true", "policy 'timeslice' runs in 'fico bench' only; choose"),
        ("set --policy mps-quota", "policy 'mps-quota' runs in 'fico bench' only; choose from"),
        ("set --policy fico --setting x=1", "policy fico has no setting 'x'; choose from span_us,"),
        ("set --policy mps --setting x=1", "policy mps has no setting 'x'; it has none"),
        ("set --policy shuffle --setting x=1", "policy shuffle has no setting 'x'; it has none"),
        ("set --policy fico --setting order=2", "setting order=2 of policy fico is out of range; "),
        ("set --policy fico --setting order", "setting 'order' of policy fico is not understood; "),
        ("set --policy fico --setting order=no", "setting 'order=no' of policy fico is not under"),
        ("set --policy fico --setting order=nan", "setting order=nan of policy fico is out of ran"),
        (
            "set --policy fico --setting order=0 --setting order=1",
            "setting order is given twice; give each once",
        ),
        ("set --setting order=0", "a setting belongs to a policy; give --policy too"),
        ("set a --setting order=0", "a setting belongs to a policy; give --policy too"),
    ],
)
def test_what_can_not_be_is_said_in_a_line(fico: Cli, arguments: str, line: str) -> None:
    done = fico(*arguments.split(" "))
    assert done.code == 2
    assert done.line.startswith(f"fico: {line}")
    assert fico.leftovers() == []


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ('policy = "fair"', "t.toml:1: policy: policy 'fair' is not known; choose from mps,"),
        ("settings = { order = 0 }", "t.toml:1: settings belong to a policy; name it: policy = "),
        (
            'policy = "mps"\n[settings]\norder = 0',
            "t.toml:2: policy mps has no setting 'order'; it has none",
        ),
        (
            'policy = "fico"\nsettings = { order = 7 }',
            "t.toml:2: setting order=7 of policy fico is out of range; give 0 to 1",
        ),
        ('policy = "fico"\n[settings]\norder = "no"', "t.toml:2: settings.order: "),
    ],
)
def test_errors_of_launch_files(fico: Cli, head: str, line: str) -> None:
    done = fico("launch", launch_file(fico, head))
    assert done.code == 2
    assert done.line.startswith(f"fico: {line}")


def test_settings_stay_numbers_in_json(fico: Cli) -> None:
    fico.tenant("--name", "a")
    assert fico("set", "--policy", "fico", "--setting", "wait_us=0.1").code == 0
    (session,) = json.loads(fico("status", "--json").out)["sessions"]
    assert session["policy_settings"] == {"wait_us": 0.1}
