"""The pipeline: which stages there are and how their outputs feed each other. The order is derived, and checked acyclic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from stages.base import Stage
from stages.core.look import Look

SOURCE = "capture"
"""the one kind that no stage makes: the capture folder itself"""


@cache
def stages() -> tuple[Stage, ...]:
    """All stages in an order in which each finds its inputs made."""
    from stages.bundle.stage import STAGE as BUNDLE
    from stages.depth.stage import STAGE as DEPTH
    from stages.masks.stage import STAGE as MASKS
    from stages.package.stage import STAGE as PACKAGE
    from stages.physics.stage import STAGE as PHYSICS
    from stages.rectify.stage import STAGE as RECTIFY
    from stages.surface.stage import STAGE as SURFACE
    from stages.texture.stage import STAGE as TEXTURE
    from stages.track.stage import STAGE as TRACK

    return ordered((RECTIFY, DEPTH, MASKS, TRACK, BUNDLE, SURFACE, TEXTURE, PHYSICS, PACKAGE))


@cache
def posed_stages() -> tuple[Stage, ...]:
    """The second route, for pictures with known cameras: `posed` makes what the stages from `surface` on read; `novel_views` ends it."""
    from stages.novel_views.stage import STAGE as NOVEL_VIEWS
    from stages.posed.stage import STAGE as POSED

    return ordered((POSED, *(s for s in stages() if s.name in downstream("surface")), NOVEL_VIEWS))


@cache
def scene_stages() -> tuple[Stage, ...]:
    """Pictures with known cameras, of which only new views are asked: no masks are needed, and no surface is made."""
    from stages.novel_views.stage import STAGE as NOVEL_VIEWS
    from stages.posed.stage import STAGE as POSED

    return ordered((POSED, NOVEL_VIEWS))


@cache
def rgbd_stages() -> tuple[Stage, ...]:
    """The third route, for depth cameras: `rgbd` makes what `rectify` and `depth` make of pairs; the rest is the same."""
    from stages.rgbd.stage import STAGE as RGBD

    return ordered((RGBD, *(s for s in stages() if s.name not in ("rectify", "depth"))))


@cache
def turntable_stages() -> tuple[Stage, ...]:
    """The fifth route, for a depth camera before a support that turns by wide steps: marks on it give the poses, in place of track and
    bundle."""
    from stages.turntable.stage import STAGE as TURNTABLE

    return ordered((*(s for s in rgbd_stages() if s.name not in ("track", "bundle")), TURNTABLE))


@cache
def merge_stages() -> tuple[Stage, ...]:
    """The fourth route, of two finished sessions: `merge` joins what their stages before bundle made; the rest is the same."""
    from stages.core.merged_capture import INPUT_KINDS
    from stages.merge.stage import STAGE as MERGE

    return ordered((MERGE, *(s for s in stages() if s.name in downstream("bundle"))), INPUT_KINDS)


@cache
def asked_stages() -> tuple[Stage, ...]:
    """Those that are in no route until a setting asks for them."""
    from stages.generate.stage import STAGE as GENERATE
    from stages.material.stage import STAGE as MATERIAL

    return ordered((MATERIAL, GENERATE), (*MATERIAL.inputs, *GENERATE.inputs))


def with_asked(route: tuple[Stage, ...], configs: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a route and those of `asked_stages` that the settings, by stage name, ask for. The others are unknown to the run.
    Raises ConfigError for one that reads what the route does not make."""
    from stages.core.errors import ConfigError
    from stages.core.merged_capture import INPUT_KINDS

    asked = tuple(s for s in asked_stages() if s.asked_for(configs[s.name]))
    made = {SOURCE, *INPUT_KINDS, *(kind for s in (*route, *asked) for kind in s.outputs)}
    for stage in asked:
        if missing := [kind for kind in stage.inputs if kind not in made]:
            raise ConfigError(
                f"{stage.name} reads {', '.join(missing)}, which no stage of this route makes",
                f"leave out the settings of {stage.name}, or choose another --route",
            )
    return ordered((*route, *asked), INPUT_KINDS) if asked else route


@cache
def every_stage() -> tuple[Stage, ...]:
    """Those of all routes, each once."""
    return tuple(
        dict.fromkeys(
            (*stages(), *posed_stages(), *rgbd_stages(), *merge_stages(), *turntable_stages(), *asked_stages())
        )
    )


def ordered(found: tuple[Stage, ...], given: tuple[str, ...] = ()) -> tuple[Stage, ...]:
    """Topological order, stable in the given one; `given`: kinds that are there beside the capture. Raises ValueError on a cycle, a missing
    input or an output made twice."""
    makers: dict[str, str] = {}
    for stage in found:
        for kind in stage.outputs:
            if kind in makers:
                raise ValueError(f"{kind} is made by both {makers[kind]} and {stage.name}")
            makers[kind] = stage.name
    known, waiting, out = {SOURCE, *given}, list(found), []
    while waiting:
        to_come = {kind for s in waiting for kind in s.outputs}
        ready = next((s for s in waiting if set(s.inputs) <= known and not set(s.inputs_where_made) & to_come), None)
        if ready is None:
            missing = {s.name: sorted(set(s.inputs) - known) for s in waiting}
            raise ValueError(f"no order runs these stages; inputs that nothing makes before: {missing}")
        waiting.remove(ready)
        out.append(ready)
        known |= set(ready.outputs)
    return tuple(out)


def look_at(capture: Path, settings: Any, pictures: bool = True) -> Look:
    """What is known of a capture before any stage runs; `settings`: those of the first stage of its route."""
    from stages.merge.config import MergeConfig
    from stages.merge.look import look_at as look_at_merged
    from stages.posed.config import PosedConfig
    from stages.posed.look import look_at as look_at_posed
    from stages.rectify.look import look_at
    from stages.rgbd.config import RgbdConfig
    from stages.rgbd.look import look_at as look_at_rgbd

    if isinstance(settings, RgbdConfig):
        return look_at_rgbd(capture, settings, pictures)
    if isinstance(settings, MergeConfig):
        return look_at_merged(capture)
    if isinstance(settings, PosedConfig):
        return look_at_posed(capture, settings, pictures)
    return look_at(capture, settings, pictures)


def unpack_recording(
    recording: Path, out: Path, wish: tuple[str | None, str | None, float], progress: Callable[[int, int], None]
) -> Any:
    """A bag as a capture folder; `wish`: left topic, right topic, tolerance in seconds. See stages/rectify/bags.py."""
    from stages.rectify.bags import Wish, unpack

    return unpack(recording, out, Wish(*wish), progress)


def downstream(name: str, among: tuple[Stage, ...] | None = None) -> tuple[str, ...]:
    """The stage and every stage that reads, directly or not, what it makes; `among` the real stages unless others are given."""
    tainted, names = set(), []
    for stage in among or stages():
        if stage.name == name or tainted & {*stage.inputs, *stage.inputs_where_made}:
            tainted |= set(stage.outputs)
            names.append(stage.name)
    return tuple(names)


def mermaid() -> str:
    """The graph as the README shows it."""
    makers = {kind: s.name for s in stages() for kind in s.outputs}
    lines = ["graph LR", f"    {SOURCE}([{SOURCE}])"]
    edges: dict[tuple[str, str], list[str]] = {}
    for stage in stages():
        for kind in stage.inputs:
            edges.setdefault((makers.get(kind, SOURCE), stage.name), []).append(kind)
    lines += [f"    {a} -- {', '.join(kinds)} --> {b}" for (a, b), kinds in edges.items()]
    return "\n".join(lines)
