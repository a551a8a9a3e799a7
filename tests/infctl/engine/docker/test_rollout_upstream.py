"""upstream.conf while a gateway is replaced, and back to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infctl.engine.docker import rollout_upstream as upstream

GOLDEN = sorted((Path(__file__).parents[3] / "golden" / "render").glob("*/nginx/upstream.conf"))
TEXT = """# made by infctl
upstream gateway {
    zone gateway 128k;
    server inference-gateway:8000 resolve max_fails=0;
    keepalive 128;
}
"""


def test_addresses_stand_before_the_name_which_is_down():
    assert upstream.pointed(TEXT, ["172.20.0.7", "172.20.0.8"]) == TEXT.replace(
        "    server inference-gateway:8000 resolve max_fails=0;\n",
        "    server 172.20.0.7:8000 max_fails=0; # while a gateway is replaced\n"
        "    server 172.20.0.8:8000 max_fails=0; # while a gateway is replaced\n"
        "    server inference-gateway:8000 resolve max_fails=0 down; # while a gateway is replaced\n",
    )


@given(
    st.lists(st.ip_addresses(v=4).map(str), max_size=4), st.lists(st.ip_addresses(v=4).map(str), max_size=4)
)
def test_back_to_the_byte_from_whatever_was_pointed_at(first, then):
    once = upstream.pointed(TEXT, first)
    assert upstream.is_pointed(once)
    assert upstream.pointed(once, then) == upstream.pointed(TEXT, then)
    assert upstream.rendered(once) == TEXT
    assert upstream.rendered(TEXT) == TEXT


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.parent.parent.name)
def test_the_files_that_are_rendered_are_understood(file):
    text = file.read_text()
    assert not upstream.is_pointed(text)
    assert "server 10.0.0.1:8000 max_fails=0;" in upstream.pointed(text, ["10.0.0.1"])
    assert upstream.rendered(upstream.pointed(text, ["10.0.0.1"])) == text


def test_there_are_such_files():
    assert GOLDEN


@pytest.mark.parametrize("text", ["", "upstream gateway { server a:1; }\n"])
def test_a_file_without_our_line_is_refused(text):
    with pytest.raises(ValueError, match="no line"):
        upstream.pointed(text, ["10.0.0.1"])
