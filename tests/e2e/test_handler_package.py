"""A task type of somebody else's package works without a change to this one."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module

import pytest

from service.settings import BadSetting
from service.task_types import ENTRY_POINT_GROUP, discover
from tests.e2e.tallystick_process import TOP, Home

PACKAGE = TOP / "examples" / "handler_package"


def entry_point() -> str:
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    (place,) = project["entry-points"][ENTRY_POINT_GROUP].values()
    return str(place)


def test_its_entry_point_leads_to_its_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PACKAGE)
    module, _, attribute = entry_point().partition(":")
    handlers = getattr(import_module(module), attribute)
    assert [handler.name for handler in handlers] == ["count_words", "count_page"]


def test_it_is_found_by_the_setting_and_runs(home: Home) -> None:
    home.environment["PYTHONPATH"] += f":{PACKAGE}"
    home.environment["TALLYSTICK_HANDLERS"] = entry_point()
    with home.started("dev") as running:
        running.wait_for("Tallystick is ready at ")
        text = json.dumps({"text": "To be or not to be"})
        done = home.run("task", "submit", "count_words", text, "--wait", "30", "--json")
        assert done.json["result"] == {"words": 6, "top": {"to": 2, "be": 2, "or": 1, "not": 1}}
        assert done.json["credits"]["charged"] == 1
        empty = home.run("task", "submit", "count_words", '{"text": " "}', "--wait", "30", "--json")
        assert empty.json["failure"]["message"] == "There are no words in this text."
        assert empty.json["credits"]["charged"] == 0


@pytest.mark.parametrize("path", ["no.such.module:X", "json:nothing", "json:loads", "json", ":"])
def test_a_setting_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(BadSetting, match="TALLYSTICK_HANDLERS"):
        discover([path])
