"""The engine with real processes."""


def test_up_starts_and_down_leaves_nothing(toy):
    events = toy.up(toy.service("a"), toy.service("b"))
    assert [e.kind for e in events if e.service == "a"] == ["started", "ready"]
    assert toy.ask("a") == toy.ask("b") == "ok"
    list(toy.engine.down())
    assert toy.alive() == []
