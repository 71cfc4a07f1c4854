"""All bodies of a drawn capture: the object first, the hand, what stands and moves beside it, table and room."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tools.capture_rendering.paints import Paint
from tools.robustness import hand
from tools.robustness.coats import COATS, Ground, coat, ground
from tools.robustness.drawn import Drawn
from tools.robustness.families import FAMILIES, mesh_in_family
from tools.robustness.paths import TOUCHED, TURNED, Motion, highest
from tools.robustness.renderer import Body, Light, World

_AWAY = np.diag([1.0, 1, 1, 1]) + np.array([[0, 0, 0, 0], [0, 0, 0, 1000.0], [0, 0, 0, 0], [0, 0, 0, 0]])
"""where a body is while it is not there"""
_OTHER_CELLS = 50
_CLUTTERED = np.radians(270)
"""how much of the round other things stand in"""
_TABLE_CORNERS = 40
_DISC_M = 0.02
"""how far a turning disc stands above its table"""


def build(drawn: Drawn) -> tuple[World, Motion]:
    """The world of `drawn`, and how camera and object move in it. Body 0 is the object, the one named "hand" the hand."""
    vertices, faces = mesh_in_family(drawn.family, drawn.rng("shape"), drawn.extent_m)
    motion = Motion(drawn, vertices)
    room = _room(drawn, motion)
    tables = _tables(drawn, motion)
    around = tables[0].paint(np.array([[0.02, motion.level_m, 0.05]]), np.array([[0, -1.0, 0]]), np.array([0]))[0]
    paint = coat(drawn.coat, drawn.rng("coat"), drawn.extent_m, around)
    bodies = [
        Body("object", vertices, faces, _plainly(paint), world_from_body=motion.world_from_object, gloss=drawn.gloss)
    ]
    bodies += _hand(drawn, motion, vertices) + _clutter(drawn, motion) + _movers(drawn, motion) + [*tables, room]
    a, up = np.radians(drawn.lamp_deg)
    lamp = np.array([np.sin(a) * np.cos(up), -np.sin(up), np.cos(a) * np.cos(up)])
    return World(bodies, Light(lamp, 0.95 - drawn.ambient, drawn.ambient)), motion


def _plainly(paint: Paint) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    return lambda x, normal, face: paint(x, normal)


def _still(pose: np.ndarray) -> Callable[[float], np.ndarray]:
    return lambda t: pose


def _moved(shift: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, 3] = shift
    return out


def _hand(drawn: Drawn, motion: Motion, vertices: np.ndarray) -> list[Body]:
    if drawn.hand == "none":
        return []
    in_hand = drawn.motion == "inhand"
    mesh, object_from_grip = _from_below(vertices) if in_hand else _from_the_side(drawn, motion, vertices)
    pose = {
        "holds": lambda t: motion.world_from_object(t) @ object_from_grip,
        "stays": lambda t: motion.world_from_object(0.0) @ object_from_grip,
        "touches": lambda t: _only(TOUCHED, t, object_from_grip),
        "turns": lambda t: _only(
            (TURNED[0] - 0.02, TURNED[1] + 0.02), t, motion.world_from_object(t) @ object_from_grip
        ),
    }[drawn.hand]
    return [Body("hand", *mesh, _plainly(hand.skin), pose)]


def _only(when: tuple[float, float], t: float, pose: np.ndarray) -> np.ndarray:
    return pose if when[0] <= t <= when[1] else _AWAY


def _from_below(vertices: np.ndarray):
    bottom = float(vertices[:, 1].max())
    low = vertices[vertices[:, 1] > bottom - 0.05]
    middle = low.mean(0) * [1, 0, 1]
    radius = float(np.quantile(np.hypot(*(low - middle)[:, [0, 2]].T), 0.5))
    return hand.from_below(radius, bottom), _moved(middle)


def _from_the_side(drawn: Drawn, motion: Motion, vertices: np.ndarray):
    """Round an upper part of the object, the arm leading away sideways and up a little."""
    rng = drawn.rng("hand")
    top = highest(vertices, np.eye(4))
    height = top + min(0.045, 0.5 * (motion.level_m - top))
    near = vertices[np.abs(vertices[:, 1] - height) < max(0.02, 0.1 * drawn.extent_m)]
    middle = near.mean(0)
    a = rng.uniform(0, 2 * np.pi)
    side = np.array([np.cos(a), 0, np.sin(a)])
    radius = float(np.quantile((near - middle) @ side, 0.9))
    grasp = middle + side * max(0.0, radius - 0.05)
    out = _moved(grasp)
    up = np.array([0, -1.0, 0])
    out[:3, :3] = np.stack(
        [side * np.cos(0.5) + up * np.sin(0.5), up * np.cos(0.5) - side * np.sin(0.5), np.cross(side, up)], 1
    )
    return hand.from_the_side(radius), out


def _clutter(drawn: Drawn, motion: Motion) -> list[Body]:
    """Round the object, but not before it in the first picture; one body of many parts, as nothing of it moves."""
    rng, names = drawn.rng("clutter"), tuple(FAMILIES)
    first = float(np.arctan2(*motion.world_from_left(0.0)[[0, 2], 2]))
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, Paint]] = []
    for k in range(drawn.clutter):
        size = drawn.extent_m * rng.uniform(0.3, 0.8)
        vertices, faces = mesh_in_family(names[int(rng.integers(len(names)))], rng, size, _OTHER_CELLS)
        a = first + _CLUTTERED * ((k + rng.uniform(0.2, 0.8)) / drawn.clutter - 0.5)
        r = drawn.extent_m * rng.uniform(1.2, 2.2)
        at = np.array([r * np.sin(a), _table_level_m(drawn, motion) - vertices[:, 1].max(), r * np.cos(a)])
        parts.append((vertices, faces, at, _any_coat(rng, size)))
    return [_together(parts)] if parts else []


def _together(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, Paint]]) -> Body:
    """One body of (vertices, faces, place, paint) that stand still."""
    before = np.cumsum([0, *(len(v) for v, _, _, _ in parts)])
    ends = np.cumsum([len(f) for _, f, _, _ in parts])

    def paint(x: np.ndarray, normal: np.ndarray, face: np.ndarray) -> np.ndarray:
        out, part = np.empty((len(x), 3)), np.searchsorted(ends, face, side="right")
        for k, (_, _, at, coat_of) in enumerate(parts):
            own = part == k
            out[own] = coat_of(x[own] - at, normal[own])
        return out

    vertices = np.concatenate([v + at for v, _, at, _ in parts])
    faces = np.concatenate([f + start for (_, f, _, _), start in zip(parts, before, strict=False)])
    return Body("other", vertices, faces, paint, world_from_body=_still(np.eye(4)))


def _movers(drawn: Drawn, motion: Motion) -> list[Body]:
    """People behind: upright bodies that pass at the back of the room."""
    import trimesh

    out, rng = [], drawn.rng("movers")
    away = drawn.wall_m * 0.7 + 0.1
    for _ in range(drawn.movers):
        tall = rng.uniform(0.3, 0.6) * max(drawn.wall_m, 0.5)
        mesh = trimesh.creation.capsule(tall, 0.3 * tall, count=[24, 24])
        mesh.apply_transform(trimesh.geometry.align_vectors([0, 0, 1], [0, 1, 0]))
        a, speed, start = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6) * away, rng.uniform(-0.8, 0.2) * away
        forward = motion.world_from_left(0.0)[:3, 2] * [1, 0, 1]
        across = np.array([-forward[2], 0, forward[0]]) * np.sign(np.cos(a))

        # beyond the object as the first camera sees it, and across its picture
        def path(t, across=across, speed=speed, start=start, forward=forward, tall=tall):
            return _moved(forward * away + across * (start + speed * t) + [0, motion.level_m - 0.9 * tall, 0])

        out.append(
            Body(
                "mover",
                np.array(mesh.vertices),
                np.array(mesh.faces),
                _plainly(_any_coat(rng, tall)),
                world_from_body=path,
            )
        )
    return out


def _any_coat(rng: np.random.Generator, size: float) -> Paint:
    return COATS[tuple(COATS)[int(rng.integers(len(COATS)))]](rng, size)


def _table_level_m(drawn: Drawn, motion: Motion) -> float:
    """y of the table's top; of `inhand` far below the object, of `turntable` below the disc that turns."""
    below = {"inhand": 0.35 + drawn.extent_m, "turntable": _DISC_M}.get(drawn.motion, 0.0)
    return motion.level_m + 1e-4 + below


def _tables(drawn: Drawn, motion: Motion) -> list[Body]:
    """What the object stands on first."""
    table = ground(drawn.table, drawn.rng("table"))
    wide = max(0.3, 1.6 * drawn.extent_m) + drawn.rng("table size").uniform(0.0, 0.8)
    out = [_round_top("table", wide, _table_level_m(drawn, motion), table, pose=_still(np.eye(4)))]
    if drawn.motion != "turntable":
        return out
    disc = ground(drawn.table, drawn.rng("disc"))
    return [
        _round_top("disc", max(0.7 * drawn.extent_m, 0.1), motion.level_m + 1e-4, disc, pose=motion.world_from_object),
        *out,
    ]


def _round_top(name: str, reach: float, level: float, colours: Ground, pose: Callable[[float], np.ndarray]) -> Body:
    a = 2 * np.pi * np.arange(_TABLE_CORNERS) / _TABLE_CORNERS
    rim = np.stack([reach * np.cos(a), np.full(len(a), level), reach * np.sin(a)], 1)
    vertices, k = np.concatenate([[[0, level, 0]], rim]), np.arange(_TABLE_CORNERS)
    faces = np.stack([0 * k, 1 + k, 1 + (k + 1) % _TABLE_CORNERS], 1)
    return Body(
        name,
        vertices,
        faces,
        lambda x, normal, face: colours(x[:, 0], x[:, 2]),
        world_from_body=pose,
        smooth=False,
        casts_shadow=False,
    )


def _room(drawn: Drawn, motion: Motion) -> Body:
    """The inside of a room; the last two faces are the wall behind the object of a camera that stands still."""
    import trimesh

    wall, rng = ground(drawn.wall, drawn.rng("wall")), drawn.rng("room")
    half = max(drawn.distance_m * 1.15, drawn.wall_m) + 0.3 + rng.uniform(0.0, 0.6)
    floor = _table_level_m(drawn, motion) + rng.uniform(0.3, 0.7)
    walls = trimesh.creation.box([2 * half, floor + half + 1.0, 2 * half])
    walls.apply_translation([0, floor - (floor + half + 1.0) / 2, 0])
    vertices = np.concatenate([np.asarray(walls.vertices), _screen(drawn, motion)])
    faces = np.concatenate([np.asarray(walls.faces), np.array([[0, 1, 2], [0, 2, 3]]) + len(walls.vertices)])
    pictures, frame = _posters(drawn, wall), _upright(motion)

    def paint(x: np.ndarray, normal: np.ndarray, face: np.ndarray) -> np.ndarray:
        out, on_screen = np.empty((len(x), 3)), face >= len(faces) - 2
        y = x[on_screen] @ frame
        out[on_screen] = pictures(y[:, 0], y[:, 1])
        x, flat = x[~on_screen], np.abs(normal[~on_screen]).argmax(1)
        u, v = np.where(flat == 0, x[:, 2], x[:, 0]), np.where(flat == 1, x[:, 2], x[:, 1])
        out[~on_screen] = pictures(u + 3.1 * flat, v)
        return out

    return Body("room", vertices, faces, paint, world_from_body=_still(np.eye(4)), smooth=False, casts_shadow=False)


def _screen(drawn: Drawn, motion: Motion) -> np.ndarray:
    """(4, 3) corners of a wall that stands `wall_m` behind the object for a camera that does not move; else far outside the room."""
    still = drawn.motion in ("inhand", "turntable")
    right, down, forward = _upright(motion).T
    centre = forward * (drawn.wall_m if still else 60.0)
    return np.stack([centre + 4 * (a * right + b * down) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


def _upright(motion: Motion) -> np.ndarray:
    """(3, 3) columns: right, down and forward of the first camera, held upright."""
    forward = motion.world_from_left(0.0)[:3, 2] * [1, 0, 1]
    forward /= np.linalg.norm(forward)
    down = np.array([0, 1.0, 0])
    return np.stack([np.cross(down, forward), down, forward], 1)


def _posters(drawn: Drawn, wall):
    """The wall's colours with printed rectangles on it, each another part of one sheet."""
    rng = drawn.rng("posters")
    sheet = ground("paper", rng)
    at, size = rng.uniform(-1.2, 1.2, (drawn.posters, 2)), rng.uniform(0.08, 0.3, (drawn.posters, 2))

    def colours(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        out = wall(u, v)
        for k in range(drawn.posters):
            a, b = np.mod(u + 1.5, 3.0) - 1.5 - at[k, 0], v - at[k, 1] * 0.6
            inside = (np.abs(a) < size[k, 0]) & (np.abs(b) < size[k, 1])
            out[inside] = sheet(a[inside] + k, b[inside])
        return out

    return colours
