"""Random valid configurations survive being saved, loaded and committed. All 1,000: `GATEPOST_LONG=1 pytest FILE`."""

import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.document import check_document
from daemons.config import DOCUMENTS
from daemons.example import render
from ops.configuration.difference import filled
from ops.configuration.rewrite import rewrite
from ops.configuration.show import changes, tree
from ops.configuration.toml import toml
from tests.support.documents import valid_documents
from tests.support.long import either


@pytest.mark.parametrize("role", ["esa", "sma"])
@settings(
    max_examples=either(20, 1000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(data=st.data())
def test_a_valid_document_survives_save_load_and_commit(role: str, data: Any) -> None:
    document = data.draw(valid_documents(role))
    model = DOCUMENTS[role]
    meant = check_document(document, model, "meant")
    assert tomllib.loads(toml(document)) == document
    assert check_document(tomllib.loads(toml(document)), model, "loaded") == meant
    # A commit writes it into the commented file of a new machine.
    fresh = render(model, {"appliance": document["appliance"]})
    written = rewrite(fresh, tomllib.loads(fresh), document)
    assert filled(tomllib.loads(written)) == filled(document)
    assert check_document(tomllib.loads(written), model, "written") == meant
    assert tree(changes(document, document)) == []
    assert all(isinstance(line, str) for line in tree(changes(tomllib.loads(fresh), document)))
