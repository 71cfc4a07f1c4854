"""Endless stereo scenes with true disparity, made in torch on any device, before any camera (see camera.py).

Each object has an outline (superellipse with Fourier wobble: discs, boxes, planks, rods, blobs), a surface (slanted plane; dome,
superquadric or cylinder on it; noise-like waves) scaled as a real one of its disparity would be, and a texture. A wall and often a
floor lie behind. A light shades all by its normals and throws soft shadows; highlights sit elsewhere in the other eye. Objects are
composed from far to near with a depth test, in both eyes: left pixel x sees right pixel x - d(x, y), which for the right eye is solved
by fixed-point iteration (slopes stay below 0.45 px per px). Same seed, same data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tools.stereo_training.textures import BLANK, KINDS, RICH

OBJECTS = 13
BACKGROUND = 2
"""The first ones: wall and floor."""
HARMONICS = 2
STEEPEST = 0.45
_SOLVE_STEPS = 6

Parameters = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """left, right (B, 3, H, W) in 0..1; disparity px (B, 1, H, W); visible (B, 1, H, W) bool: seen by both eyes."""

    left: torch.Tensor
    right: torch.Tensor
    disparity: torch.Tensor
    visible: torch.Tensor


@dataclass(frozen=True)
class Clean:
    """Scenes before any camera: pictures (B, 3, H, W) in 0..1; of the left and of the right eye disparity px (B, 1, H, W) and bool seen."""

    left: torch.Tensor
    right: torch.Tensor
    disparities: tuple[torch.Tensor, torch.Tensor]
    seen: tuple[torch.Tensor, torch.Tensor]
    """by both eyes"""

    @property
    def disparity(self) -> torch.Tensor:
        """Of the left eye."""
        return self.disparities[0]

    @property
    def visible(self) -> torch.Tensor:
        """Of the left eye's pixels, those that the right eye sees too."""
        return self.seen[0]


class SceneMaker:
    """Makes scenes from a texture bank (N, 3, S, S)."""

    def __init__(self, bank: torch.Tensor, height: int, width: int, max_disparity: float = 160.0) -> None:
        self.bank, self.device = bank, bank.device
        self.height, self.width, self.max_disparity = height, width, max_disparity
        y, x = torch.meshgrid(
            torch.arange(height, device=self.device), torch.arange(width, device=self.device), indexing="ij"
        )
        self.x, self.y = x.float()[None], y.float()[None]

    def clean(self, size: int, seed: int) -> Clean:
        """`size` scenes drawn from `seed`."""
        g = torch.Generator(self.device).manual_seed(seed)
        objects, light = _draw(
            size, self.height, self.width, self.max_disparity, textures=len(self.bank), g=g, device=self.device
        )
        left, disparity = self._compose(objects, light, right=False)
        right, right_disparity = self._compose(objects, light, right=True)
        seen = _visible(disparity, right_disparity, -1), _visible(right_disparity, disparity, 1)
        return Clean(left, right, (disparity, right_disparity), seen)

    def _compose(self, objects: Parameters, light: Parameters, right: bool) -> tuple[torch.Tensor, torch.Tensor]:
        b = len(objects["d0"])
        colour = torch.zeros(b, 3, self.height, self.width, device=self.device)
        disparity = torch.full((b, self.height, self.width), -1e3, device=self.device)
        for i in range(OBJECTS):
            p = {k: v[:, i] for k, v in objects.items()}
            if i >= BACKGROUND and bool(light["shadow"].any()):
                colour *= self._shadow(p, light, disparity, right)[:, None]
            rows, columns = self._window(p, right)
            behind, near = colour[..., rows, columns], disparity[..., rows, columns]
            y = self.y[:, rows, columns]
            x, d = self._surface(p, self.x[:, rows, columns].expand(b, -1, -1), y, right)
            alpha = self._outline(p, x, y) * (d > near)
            paint = self._light_up(p, light, self._paint(p, x, y), d, right=right)
            behind.copy_(behind * (1 - alpha[:, None]) + paint * alpha[:, None])
            near.copy_(torch.where(alpha > 0.5, d, near))
        return colour.clamp(0, 1), disparity.clamp(min=0)[:, None]

    def _window(self, p: Parameters, right: bool) -> tuple[slice, slice]:
        """Rows and columns that hold an object: nothing else has to be computed."""
        if bool((p["everywhere"] > 0).any()):
            return slice(None), slice(None)
        reach = 1.9 * p["size"]
        bend = (p["slant_x"].abs() + p["slant_y"].abs()) * reach + p["bulge"].abs() + p["wave"]
        near, far = (p["d0"] + bend, p["d0"] - bend) if right else (0, 0)
        return (
            _inside((p["cy"] - reach).min(), (p["cy"] + reach).max(), self.height),
            _inside((p["cx"] - reach - near).min(), (p["cx"] + reach - far).max(), self.width),
        )

    def _surface(
        self, p: Parameters, x: torch.Tensor, y: torch.Tensor, right: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Left x seen at each pixel x of the chosen eye, and the disparity there."""
        if not right:
            return x, self._disparity(p, x, y)
        d = _view(p["d0"]).expand_as(x)
        for _ in range(_SOLVE_STEPS):
            d = self._disparity(p, x + d, y)
        return x + d, d

    def _disparity(self, p: Parameters, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        dx, dy = x - _view(p["cx"]), y - _view(p["cy"])
        d = _view(p["d0"]) + _view(p["slant_x"]) * dx + _view(p["slant_y"]) * dy
        if bool(p["bulge"].any()):
            u, v = _turned(p, dx, dy)
            # the distance from the middle: across a dome or box in both directions, across a cylinder in one
            far = (u.abs() ** _view(p["square"]) + (_view(p["round"]) * v).abs() ** _view(p["square"])) ** _view(
                1 / p["square"]
            )
            d = d + _view(p["bulge"]) * (1 - far.clamp(max=1.2) ** _view(p["fall"]))
        if bool(p["wave"].any()):
            d = d + _view(p["wave"]) * torch.sin(dx * _view(p["wave_x"]) + dy * _view(p["wave_y"]))
        return d

    def _outline(
        self, p: Parameters, x: torch.Tensor, y: torch.Tensor, soft_px: torch.Tensor | float = 1.0
    ) -> torch.Tensor:
        """Soft coverage (B, H, W): 1 inside, half on the outline; the background covers all."""
        u, v = _turned(p, x - _view(p["cx"]), y - _view(p["cy"]))
        power = _view(p["power"])
        r = ((u.abs() + 1e-6) ** power + (v.abs() + 1e-6) ** power) ** (1 / power)
        rim = _rim(p, u, v)
        inside = ((rim - r) * _view(p["size"] * p["aspect"]) / soft_px + 0.5).clamp(0, 1)
        return torch.where(_view(p["everywhere"]) > 0, torch.ones_like(inside), inside)

    def _shadow(self, p: Parameters, light: Parameters, disparity: torch.Tensor, right: bool) -> torch.Tensor:
        """What the shadow of an object leaves of the light on the surfaces behind it."""
        height = (_view(p["d0"]) - disparity).clamp(0, 200)
        x = self.x + disparity if right else self.x
        soft = 2 + height * _view(light["soft"])
        cover = self._outline(
            p, x - _view(light["shadow_x"]) * height, self.y - _view(light["shadow_y"]) * height, soft
        )
        return 1 - _view(light["shadow"]) * cover * (height > 0.5)

    def _paint(self, p: Parameters, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        c, s = torch.cos(p["texture_turn"]) * p["texture_scale"], torch.sin(p["texture_turn"]) * p["texture_scale"]
        dx, dy = x - _view(p["cx"]), y - _view(p["cy"])
        u, v = _view(c) * dx + _view(s) * dy, _view(c) * dy - _view(s) * dx
        n = self.bank.shape[-1]

        # folded, not repeated: no seams
        def fold(a):
            return 2 * ((a / (2 * n) - torch.floor(a / (2 * n)) - 0.5).abs() * 2) - 1

        where = torch.stack([fold(u), fold(v)], -1)
        return F.grid_sample(self.bank[p["texture"].long()], where, align_corners=False, padding_mode="border")

    def _light_up(
        self, p: Parameters, light: Parameters, paint: torch.Tensor, d: torch.Tensor, right: bool
    ) -> torch.Tensor:
        """Lambert's law and a highlight, whose direction differs between the eyes."""
        gx, gy = (
            F.pad(torch.diff(d, dim=axis), pad, mode="replicate") for axis, pad in ((2, (0, 1)), (1, (0, 0, 0, 1)))
        )
        if right:  # from px of the right picture to px of the left one, in which the surface is defined
            gx = gx / (1 + gx)
        relief = _view(p["relief"])
        nx, ny = gx / relief, gy / relief
        length = torch.rsqrt(nx**2 + ny**2 + 1)
        cosine = ((nx * _view(light["x"]) + ny * _view(light["y"]) + 1) * length * _view(light["z"])).clamp(min=0)
        ambient = _view(light["ambient"])
        hx = 0.5 * _view(light["x"]) + (_view(p["parallax"]) if right else 0.0)
        hy = 0.5 * _view(light["y"])
        towards = (nx * hx + ny * hy + 1) * length * torch.rsqrt(hx**2 + hy**2 + 1)
        spot = _view(p["gloss"]) * towards.clamp(min=1e-3) ** _view(p["shine"])
        return paint * (ambient + (1 - ambient) * cosine)[:, None] + spot[:, None]


def _inside(low: torch.Tensor, high: torch.Tensor, length: int) -> slice:
    """At least two pixels, so that gradients exist."""
    return slice(max(0, min(int(low), length - 2)), max(2, min(int(high) + 2, length)))


def _view(v: torch.Tensor) -> torch.Tensor:
    return v.view(-1, 1, 1)


def _turned(p: Parameters, dx: torch.Tensor, dy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates along the object's axes, in its half lengths."""
    c, s = _view(torch.cos(p["turn"])), _view(torch.sin(p["turn"]))
    return (c * dx + s * dy) / _view(p["size"]), (c * dy - s * dx) / _view(p["size"] * p["aspect"])


def _rim(p: Parameters, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor | float:
    """Radius of the outline over that of the superellipse: Fourier terms of two and more waves round it."""
    if not bool(p["wobble"].any()):
        return 1.0
    length = torch.rsqrt(u**2 + v**2 + 1e-9)
    c1, s1 = u * length, v * length
    c, s, rim = c1, s1, 1.0
    for k in range(HARMONICS):
        c, s = c * c1 - s * s1, s * c1 + c * s1
        rim = rim * (
            1
            + _view(p["wobble"][:, k])
            * (c * _view(torch.cos(p["phase"][:, k])) - s * _view(torch.sin(p["phase"][:, k])))
        )
    return rim


def _draw(
    b: int, h: int, w: int, top: float, textures: int, g: torch.Generator, device: torch.device
) -> tuple[Parameters, Parameters]:
    """All objects (B, OBJECTS) of the scenes, far to near, and their lights (B,)."""

    def u(lo, hi, *more):
        return lo + (hi - lo) * torch.rand(b, OBJECTS, *more, generator=g, device=device)

    def chance(p):
        return (torch.rand(b, OBJECTS, generator=g, device=device) < p).float()

    def one(lo, hi):
        return lo + (hi - lo) * torch.rand(b, generator=g, device=device)

    # the scene spans a band of disparities: captures of one object do too, and it may lie anywhere in the range
    far = one(0, 1)[:, None] ** 1.5 * (top - 30)
    span = torch.exp(one(1.4, 5.0))[:, None].clamp(max=top) * (1 - far / top)
    d0 = far + span * u(0.0, 1.0).sort(1).values
    d0[:, 0] = far[:, 0]
    focal = one(0.7, 2.0)[:, None] * w
    relief = (d0 + 2) / focal
    rod = chance(0.12) > 0
    size = torch.exp(u(2.7, 5.3)) * (h / 320) * (0.6 + 0.8 * one(0, 1))[:, None]
    aspect = torch.where(rod, u(0.02, 0.12), u(0.3, 1.0))
    tilt = torch.tan(u(-1.2, 1.2)) * (1 - chance(0.3)), torch.tan(u(-1.2, 1.2)) * (1 - chance(0.3))
    fall = torch.exp(u(0.7, 1.8))
    steep = (STEEPEST * 0.8 * size * aspect / fall).clamp(max=60)
    objects = {
        "d0": d0,
        "relief": relief,
        "size": size,
        "aspect": aspect,
        "fall": fall,
        "cx": u(-0.1, 1.1) * w + d0 * 0.5,
        "cy": u(-0.1, 1.1) * h,
        "turn": u(0, 6.28),
        "power": torch.exp(u(0.3, 2.8)),
        "square": torch.exp(u(0.5, 1.6)),
        "round": 1 - chance(0.4),
        "wobble": u(-1, 1, HARMONICS) * (chance(0.4)[..., None] * 0.15),
        "phase": u(0, 6.28, HARMONICS),
        "slant_x": (relief * tilt[0]).clamp(-STEEPEST / 2, STEEPEST / 2),
        "slant_y": (relief * tilt[1]).clamp(-STEEPEST, STEEPEST),
        "bulge": torch.minimum(relief * size * aspect * u(0.2, 2.0), steep)
        * chance(0.7)
        * torch.where(chance(0.85) > 0, 1.0, -1.0),
        "wave": u(0, 1.0) * chance(0.35) * (relief * 20).clamp(max=1.5),
        "wave_x": u(-0.15, 0.15),
        "wave_y": u(-0.15, 0.15),
        "texture": _textures(u, textures),
        "texture_turn": u(0, 6.28),
        "texture_scale": torch.exp(u(-1.4, 0.25)),
        "everywhere": torch.zeros(b, OBJECTS, device=device),
        "gloss": u(0.05, 0.7) * chance(0.3),
        "shine": torch.exp(u(2.3, 5.5)),
        "parallax": -relief * u(0.3, 0.7),
    }
    _set_background(objects, h, w, far[:, 0], one=one)
    return objects, _lights(one)


def _textures(u, textures: int) -> torch.Tensor:
    """Index of each object's texture: things may be blank, walls and floors are mostly not."""
    groups = textures // len(KINDS)
    kind = torch.floor(u(0, len(KINDS) - 1e-3))
    rich = torch.tensor(RICH, device=kind.device)[torch.floor(u(0, len(RICH) - 1e-3)).long()]
    blank = torch.isin(kind, torch.tensor(BLANK, device=kind.device, dtype=kind.dtype))
    back = torch.arange(kind.shape[1], device=kind.device)[None] < BACKGROUND
    kind = torch.where(blank & ((back & (u(0, 1) < 0.8)) | (u(0, 1) < 0.2)), rich.to(kind.dtype), kind)
    return kind + len(KINDS) * torch.floor(u(0, groups - 1e-3))


def _set_background(objects: Parameters, h: int, w: int, far: torch.Tensor, one) -> None:
    """The wall, and a floor that comes nearer downwards; in two scenes of five it lies below the picture."""
    for key in ("bulge", "wave", "slant_y"):
        objects[key][:, :BACKGROUND] *= 0
    objects["everywhere"][:, :BACKGROUND] = 1
    objects["slant_x"][:, 0] = objects["slant_x"][:, 0].clamp(-0.1, 0.1)
    objects["slant_x"][:, 1] = one(-0.06, 0.06)
    objects["d0"][:, 1] = far
    objects["cx"][:, :BACKGROUND] = 0.5 * w
    objects["cy"][:, 1] = torch.where(one(0, 1) < 0.6, one(0.0, 0.9) * h, torch.full_like(far, 10.0 * h))
    objects["slant_y"][:, 1] = one(0.02, 0.5) * (0.2 + objects["relief"][:, 0] * 4).clamp(max=0.9)
    objects["relief"][:, 1] = objects["slant_y"][:, 1] * one(0.3, 1.0)
    objects["parallax"][:, :BACKGROUND] *= 0.5


def _lights(one) -> Parameters:
    x, y = one(-1.5, 1.5), one(-1.8, 0.6)
    z = torch.rsqrt(x**2 + y**2 + 1)
    return {
        "x": x,
        "y": y,
        "z": z * (1 + 0.5 * (1 / z - 1)),
        "ambient": one(0.2, 0.8),
        "shadow": one(0, 0.7) * (one(0, 1) < 0.7),
        "shadow_x": -x * one(0.3, 1.5),
        "shadow_y": -y * one(0.3, 1.5),
        "soft": one(0.05, 1.0),
    }


def _visible(disparity: torch.Tensor, other: torch.Tensor, sign: int) -> torch.Tensor:
    """Whether the other eye sees the same surface where a pixel lands, at x + sign * disparity (within 1 px + 2 %)."""
    w = disparity.shape[-1]
    x = torch.arange(w, device=disparity.device).view(1, 1, 1, w) + sign * disparity
    found = other.gather(3, x.round().clamp(0, w - 1).long())
    return (x >= 0) & (x <= w - 1) & ((found - disparity).abs() < 1 + 0.02 * disparity)
