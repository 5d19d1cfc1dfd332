"""Members of a closed list are plain text wherever they go, and nouns follow their numbers."""

import json

from mavos_deploy.records import encode
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.words import counted


def test_a_graphs_name_is_plain_text_wherever_it_goes() -> None:
    name = GraphName.STEP
    assert f"{name}" == str(name) == f"{name:s}" == ", ".join([name]) == "elstt_step"
    assert json.loads(json.dumps({name: name}, indent=1)) == {"elstt_step": "elstt_step"}
    assert encode({name: [name]}) == {"elstt_step": ["elstt_step"]}
    by_text: dict[str, int] = {name: 1}
    assert by_text["elstt_step"] == 1


def test_a_noun_follows_its_number() -> None:
    assert [counted(n, "mask") for n in (0, 1, 2)] == ["0 masks", "1 mask", "2 masks"]
