"""When a scene counts as still."""

from __future__ import annotations

from stages.track.links.scope import ScopeVote, verdict


def votes(*explained: float | None) -> list[ScopeVote]:
    """Of pairs whose background explains these shares of the object's points; None: a bare object before a background that streams past."""
    return [
        ScopeVote(k, k + 1, "scene" if e is None or e >= 0.5 else "object", e, 20.0) for k, e in enumerate(explained)
    ]


def test_a_still_scene_has_to_be_shown_by_nearly_every_pair():
    assert verdict(votes(1.0, 0.9, 1.0, 0.97), 12)[0] == "scene"
    assert verdict(votes(None, None, None), 12)[0] == "scene"  # a bare object: nothing speaks against it
    assert verdict(votes(0.0, 0.03, 0.0), 12)[0] == "object"
    scope, reason = verdict(votes(0.69, 0.95, 0.97, 0.02, 0.07), 24)  # both move, and alike for a while
    assert scope == "object" and "moves against the background in 2 of 5 pairs" in reason


def test_one_pair_of_many_shows_nothing_but_the_only_pair_does():
    scope, reason = verdict(votes(0.9), 24)
    assert scope == "object" and "only 1 of 24 pairs" in reason
    assert verdict(votes(0.9), 1)[0] == "scene"
    assert verdict([], 5) == (
        "object",
        "no pair of frames moved enough, on and off the object, to compare object and background",
    )
