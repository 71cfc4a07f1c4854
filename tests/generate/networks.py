"""Small generative models that learn in the test what they are asked, as ONNX files by the contract of docs/generated.md. They are real
networks: pooled pictures become a code, rays become features, and colours are learned of both (least squares on random features, so that
learning takes a second)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.core.camera import Rig
from stages.core.camera_service import look_at
from stages.generate.scene import square_rig
from tests.generate.ball import AWAY, RADIUS, UP, room
from tests.onnx_graph import Graph

SIZE, HIDDEN, SCENES = 48, 96, 60


def _pose(rng: np.random.Generator) -> np.ndarray:
    turn, height = rng.uniform(0, 2 * np.pi), rng.uniform(-1.0, 1.0)
    return look_at(
        AWAY * np.array([np.sin(turn) * np.cos(height), -np.sin(height), -np.cos(turn) * np.cos(height)]), (0, 0, 0), UP
    )


def _truth(pose: np.ndarray, rig: Rig, tones: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(colours (M, 3) 0-1 on white, opacity (M,), what is known of each ray (M, 7): where it meets the ball, the foot of the perpendicular
    from the centre, how far within the ball it passes; units of the room)."""
    r = room()
    v, u = np.mgrid[:SIZE, :SIZE]
    ray = rig.rays(np.stack([u, v], -1)).reshape(-1, 3) @ pose[:3, :3].T
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    eye = r.posed(pose)[:3, 3]
    foot = eye - ray * (ray @ eye)[:, None]
    gap = (RADIUS / r.half) ** 2 - (foot**2).sum(1)
    hit = foot - ray * np.sqrt(np.maximum(gap, 0))[:, None]
    colour = np.where((gap > 0)[:, None], np.where(hit[:, 1:2] < 0, tones[0], tones[1]), 1.0)
    return colour, (gap > 0).astype(float), np.c_[hit, foot, gap]


def _features(rays: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(M, HIDDEN + 1)."""
    return np.c_[np.maximum(rays @ weight + bias, 0), np.ones(len(rays))]


def _solved(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.solve(x.T @ x + 1e-3 * len(x) / 1000 * np.eye(x.shape[1]), x.T @ y)


def light_field(path: Path, seed: int = 0) -> Path:
    """Views of balls of any two paints: what is behind follows from the one picture that is given. Written to `path`."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(0, 1, (7, HIDDEN)) * np.c_[[1, 8, 1, 1, 1, 1, 16]], rng.uniform(-1.5, 1.5, HIDDEN)
    pooled, codes, products, colours, features, solid = [], [], [], [], [], []
    for _ in range(SCENES):
        tones, pose, other = rng.random((2, 3)), _pose(rng), _pose(rng)
        shown, there, _ = _truth(pose, _rig(pose), tones)
        both = np.c_[shown, there].T.reshape(4, 4, SIZE // 4, 4, SIZE // 4).mean((2, 4))
        pooled.append(np.r_[both.ravel(), 1])
        codes.append(tones.ravel())
        want, opaque, rays = _truth(other, _rig(other), tones)
        pick = rng.choice(len(rays), 250, replace=False)
        f = _features(rays[pick], weight, bias)
        on = opaque[pick] > 0
        products.append((f[on][:, :, None] * np.r_[tones.ravel(), 1]).reshape(int(on.sum()), -1))
        colours.append(want[pick][on])
        features.append(f)
        solid.append(opaque[pick])
    encoder = _solved(np.array(pooled), np.array(codes))
    decoder = _solved(np.concatenate(products), np.concatenate(colours)).reshape(HIDDEN + 1, 7, 3)
    opacity = _solved(np.concatenate(features), np.concatenate(solid))
    return _written(path, weight, bias, encoder, decoder, opacity)


def _rig(pose: np.ndarray) -> Rig:
    return square_rig(room().focal_px(pose, SIZE), SIZE)


def _written(path: Path, weight, bias, encoder, decoder, opacity) -> Path:
    g, s = Graph(), SIZE

    def c(name, value):
        return g.constant(name, np.asarray(value, np.float32))

    def i(name, value):
        return g.constant(name, np.asarray(value, np.int64))

    # the code of the first picture
    g.add("Concat", ["pictures", "opacities"], "both", axis=1)
    g.add("AveragePool", ["both"], "pool", kernel_shape=[s // 4, s // 4], strides=[s // 4, s // 4])
    g.add("Reshape", ["pool", i("to_row", [1, 64])], "row")
    g.add("MatMul", ["row", c("encoder", encoder[:64])], "code0")
    g.add("Add", ["code0", c("encoder_bias", encoder[64:])], "code1")
    g.add("Concat", ["code1", c("one", [[1.0]])], "code", axis=1)
    # rays through the pixels, turned into the room
    v, u = np.mgrid[:s, :s]
    g.add("Mul", [c("pixels", np.c_[u.ravel(), v.ravel(), np.ones(s * s)]), "one"], "p")
    g.add("MatMul", ["p", g.add("Transpose", [_inverse(g, c, i)], "k_inverse_t", perm=[1, 0])], "ray_camera")
    g.add("Slice", ["view_object_from_camera", i("r0", [0, 0]), i("r1", [3, 3]), i("r2", [0, 1])], "turn")
    g.add("Slice", ["view_object_from_camera", i("e0", [0, 3]), i("e1", [3, 4]), i("e2", [0, 1])], "eye")
    g.add("MatMul", ["ray_camera", g.add("Transpose", ["turn"], "turn_t", perm=[1, 0])], "ray_long")
    g.add("ReduceL2", ["ray_long"], "length", axes=[1], keepdims=1)
    g.add("Div", ["ray_long", "length"], "ray")
    g.add("Mul", ["ray", g.add("MatMul", ["ray", "eye"], "along")], "back")
    g.add("Sub", [g.add("Transpose", ["eye"], "eye_t", perm=[1, 0]), "back"], "foot")
    # features, opacity, colour
    g.add(
        "Sub",
        [
            c("radius", (RADIUS / room().half) ** 2),
            g.add("ReduceSum", [g.add("Mul", ["foot", "foot"], "foot2"), i("axis1", [1])], "square", keepdims=1),
        ],
        "gap",
    )
    g.add("Mul", ["ray", g.add("Sqrt", [g.add("Relu", ["gap"], "within")], "half_chord")], "to_hit")
    g.add("Concat", [g.add("Sub", ["foot", "to_hit"], "hit"), "foot", "gap"], "z", axis=1)
    g.add("Relu", [g.add("Add", [g.add("MatMul", ["z", c("weight", weight)], "zw"), c("bias", bias)], "zb")], "hidden")
    g.add("Concat", ["hidden", c("ones", np.ones((s * s, 1)))], "features", axis=1)
    g.add("MatMul", ["features", c("opacity_weight", opacity[:, None])], "opaque0")
    g.add("Clip", ["opaque0", c("zero", 0.0), c("unit", 1.0)], "opaque")
    g.add("Reshape", ["opaque", i("to_map", [1, s, s])], "opacity")
    # the decoder of this code: (HIDDEN + 1, 7, 3) . (7,) -> (HIDDEN + 1, 3)
    g.add("Reshape", ["code", i("to_column", [7, 1])], "code_column")
    g.add("MatMul", [c("decoder", decoder.transpose(0, 2, 1)), "code_column"], "mixed0")
    g.add("Reshape", ["mixed0", i("to_mixed", [HIDDEN + 1, 3])], "mixed")
    g.add("Clip", [g.add("MatMul", ["features", "mixed"], "colour0"), "zero", "unit"], "colour")
    g.add("Reshape", [g.add("Transpose", ["colour"], "colour_t", perm=[1, 0]), i("to_picture", [3, s, s])], "picture")
    return g.save(
        path,
        {
            "pictures": (1, 3, s, s),
            "opacities": (1, 1, s, s),
            "view_intrinsics": (3, 3),
            "view_object_from_camera": (4, 4),
        },
        {"picture": (3, s, s), "opacity": (1, s, s)},
    )


CELLS = 32
"""nodes a side of the solid's grid"""


def _moments(points: np.ndarray) -> np.ndarray:
    """(15,) of places (M, 3)."""
    square = (points**2).sum(1, keepdims=True)
    return np.r_[points.mean(0), (points.T @ points / len(points)).ravel(), (square * points).mean(0)]


def whole_balls(path: Path, seed: int = 0) -> Path:
    """The whole ball from the points of the part that was seen: a network that learned it on caps of balls. In the mean colour of the
    pictures."""
    rng, x, y = np.random.default_rng(seed), [], []
    for _ in range(4000):
        radius, centre = rng.uniform(0.5, 0.8), np.r_[rng.uniform(-0.08, 0.08, 2), rng.uniform(0, 0.4)]
        way = rng.normal(size=(500, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        front = np.r_[rng.normal(0, 0.1, 2), -1.0]
        x.append(_moments(centre + radius * way[way @ front > rng.uniform(-0.4, 0.2)]))
        y.append(np.r_[centre, radius])
    x, y = np.array(x), np.array(y)
    middle, spread = x.mean(0), x.std(0) + 1e-6
    weight, bias = rng.normal(0, 0.4, (15, 160)), rng.uniform(-1.5, 1.5, 160)
    known = (x - middle) / spread
    head = _solved(np.c_[np.maximum(known @ weight + bias, 0), known, np.ones(len(x))], y)
    return _written_ball(path, middle, spread, weight, bias, head)


def _written_ball(path: Path, middle, spread, weight, bias, head) -> Path:
    g, n, s = Graph(), CELLS, SIZE

    def c(name, value):
        return g.constant(name, np.asarray(value, np.float32))

    def i(name, value):
        return g.constant(name, np.asarray(value, np.int64))

    g.add("ReduceMean", ["points"], "m1", axes=[0], keepdims=0)
    g.add("Shape", ["points"], "shape")
    g.add("Cast", [g.add("Gather", ["shape", i("first", 0)], "count0")], "count", to=1)
    g.add("MatMul", [g.add("Transpose", ["points"], "points_t", perm=[1, 0]), "points"], "m2_sum")
    g.add("Reshape", [g.add("Div", ["m2_sum", "count"], "m2_grid"), i("nine", [9])], "m2")
    g.add("ReduceSumSquare", ["points"], "square", axes=[1], keepdims=1)
    g.add("ReduceMean", [g.add("Mul", ["square", "points"], "cubes")], "m3", axes=[0], keepdims=0)
    g.add("Concat", ["m1", "m2", "m3"], "moments", axis=0)
    g.add("Div", [g.add("Sub", ["moments", c("middle", middle)], "moved"), c("spread", spread)], "known")
    g.add(
        "Relu", [g.add("Add", [g.add("MatMul", ["known", c("weight", weight)], "kw"), c("bias", bias)], "kb")], "hidden"
    )
    g.add("Concat", ["hidden", "known", c("one", [1.0])], "features", axis=0)
    g.add("MatMul", ["features", c("head", head)], "ball")
    g.add("Slice", ["ball", i("b0", [0]), i("b3", [3])], "centre")
    g.add("Slice", ["ball", "b3", i("b4", [4])], "radius")
    axis = np.linspace(-1, 1, n)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    g.add("ReduceL2", [g.add("Sub", [c("places", places), "centre"], "from_centre")], "away", axes=[1], keepdims=0)
    g.add("Reshape", [g.add("Sub", ["away", "radius"], "flat"), i("cube", [n, n, n])], "distance")
    g.add("ReduceMean", [g.add("Mul", ["pictures", "opacities"], "inside")], "sum_colour", axes=[0, 2, 3], keepdims=1)
    g.add(
        "Div",
        ["sum_colour", g.add("ReduceMean", ["opacities"], "sum_on", axes=[0, 1, 2, 3], keepdims=1)],
        "mean_colour",
    )
    g.add(
        "Expand",
        [g.add("Reshape", ["mean_colour", i("four", [3, 1, 1, 1])], "tint"), i("cubes_shape", [3, n, n, n])],
        "colour",
    )
    return g.save(
        path,
        {"points": ("M", 3), "pictures": ("N", 3, s, s), "opacities": ("N", 1, s, s)},
        {"distance": (n, n, n), "colour": (3, n, n, n)},
    )


def _inverse(g: Graph, c, i) -> str:
    """K^-1 = [[1/f, 0, -c/f], [0, 1/f, -c/f], [0, 0, 1]] of square pixels."""
    g.add("Slice", ["view_intrinsics", i("f0", [0, 0]), i("f1", [1, 1]), i("f2", [0, 1])], "focal")
    g.add("Slice", ["view_intrinsics", i("c0", [0, 2]), i("c1", [3, 3]), i("c2", [0, 1])], "middle")
    g.add("Mul", ["middle", c("sides", [[1.0], [1.0], [0.0]])], "offset")
    g.add("MatMul", ["offset", c("third", [[0.0, 0.0, 1.0]])], "moved")
    g.add("Sub", [c("flat", np.diag([1.0, 1.0, 0.0])), "moved"], "over_f")
    g.add("Div", ["over_f", "focal"], "divided")
    return g.add("Add", ["divided", c("last", np.diag([0.0, 0.0, 1.0]))], "k_inverse")
