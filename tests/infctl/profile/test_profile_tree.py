"""Files that are no profile: each ends in one located sentence."""

# ruff: noqa: E501 - expected lines are read whole; an answer may be a value or an error

from __future__ import annotations

import pytest

from infctl.errors import ProfileError
from infctl.profile.loading import load
from infctl.profile.tree import resolve

FILES = [
    (b"", "box.yaml:1:1: the file is empty | start from one of: infctl profiles"),
    (b"# nothing\n", "box.yaml:1:1: the file is empty | start from one of: infctl profiles"),
    (b"null\n", "box.yaml:1:1: the file is empty | start from one of: infctl profiles"),
    (b"- a\n", "box.yaml:1:1: a profile is a mapping, this is a list | the first line that says something reads like name: my-platform"),
    (b"hello\n", "box.yaml:1:1: a profile is a mapping, this is text | the first line that says something reads like name: my-platform"),
    (b"name: a\n\tmodels: 1\n", "box.yaml:2:1: a tab indents this line | YAML is indented with spaces"),
    (b"name: [a\n", "box.yaml:2:1: not YAML: while parsing a flow sequence did not find expected ',' or ']' | look at the indentation, colons and quotes just before"),
    (b"name: caf\xe9\n", "box.yaml:1:10: the byte 0xE9 is not UTF-8 | save the file as UTF-8"),
    (b"name: a\n# \x00\n", "box.yaml:2:3: the character U+0000 cannot stand in YAML | remove it; some editors show it as a blank"),
    (b"a: &x [*x]\n", "box.yaml:1:8: *x contains itself | write it out"),
    (b"a: *x\n", "box.yaml:1:4: *x names no &x above | an anchor comes first"),
    (b"[" * 100_000, "box.yaml:1:26: nested more than 24 deep | a profile is six deep"),
    (b"{a: " * 100_000, "box.yaml:1:98: nested more than 24 deep | a profile is six deep"),
    (b"a: 1\n" + b" " * 1024 * 1024, "box.yaml:1:1: larger than 1 MiB | a profile is a few KiB"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), FILES, ids=range(len(FILES)))
def test_a_file_that_is_no_profile_is_told_in_one_sentence(desk, raw, expected):
    path = desk.write(raw)
    with pytest.raises(ProfileError) as caught:
        load([path], {})
    assert [f"{p} | {p.hint}" for p in caught.value.problems] == [expected]
    assert caught.value.exit_code == 3


def test_a_billion_laughs_are_counted_not_laughed(desk):
    lines = ["l0: &l0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert desk.says("\n".join(lines)) == [
        "box.yaml:5:10: more than 20,000 values, aliases expanded | fewer aliases"
    ]


def test_a_missing_file_and_a_folder_are_both_told(desk):
    (desk.folder / "folder").mkdir()
    with pytest.raises(ProfileError) as caught:
        load([desk.folder / "folder", desk.folder / "gone.yaml"], {})
    said = [p.message for p in caught.value.problems]
    assert said == ["cannot be read: Is a directory", "no such file"]


def test_no_profile_at_all_is_told():
    with pytest.raises(ProfileError, match="no profile named"):
        load([], {})


def test_a_key_written_twice_is_told_beside_the_other_mistakes(desk, smallest):
    said = desk.says(f"{smallest}logs: {{keep: 0}}\nname: other\n")
    assert said == [
        "box.yaml:3:14  logs/keep: 0 is too small | at least 1",
        'box.yaml:4:1: "name" is written twice, first in line 1 | keep one of them',
    ]


def test_a_tag_is_refused_and_nothing_is_constructed(desk, smallest):
    said = desk.says(f'{smallest}logs: !!python/object/apply:os.system ["true"]\n')
    assert (
        said[0]
        == 'box.yaml:3:7: the tag "tag:yaml.org,2002:python/object/apply..." is not read | write the value without it'
    )


def test_a_second_document_is_told(desk, smallest):
    assert desk.says(f"{smallest}---\nname: b\n") == [
        "box.yaml:3:1: a second document begins here | one file holds one profile"
    ]


def test_anchors_and_merge_keys_work(desk):
    loaded = desk.load("""
        name: box
        models:
          a: &a {source: a/b, task: chat, max_model_len: 8k}
          b:
            <<: *a
            task: embed
    """)
    assert loaded.profile.models["b"].max_model_len == 8000
    assert loaded.profile.models["b"].task == ("embed",)
    assert str(loaded.where("models/b/task")) == "box.yaml:6:11"


def test_a_byte_order_mark_and_crlf_are_read(desk):
    path = desk.write(b"\xef\xbb\xbfname: box\r\nmodels:\r\n  a: {source: a/b, task: chat}\r\n")
    assert load([path], {}).profile.name == "box"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("true", True), ("1_000", 1000), ("010", "010"), ("1:30", "1:30"), ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"), ("1e3", 1000.0), (".5", 0.5), ("~", None), (".inf", ".inf"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_plain_scalars_hold_no_surprise(text, value):
    assert resolve(text) == value
