"""Endless stereo scenes with true disparity, made in torch on any device: many layered objects, then the faults of real cameras.

Each object has an outline (superellipse with Fourier wobble: discs, boxes, planks, rods, blobs), a disparity surface (slant, bulge,
noise) and a texture. Objects are composed from far to near in both eyes: left pixel x sees right pixel x - d(x, y), which for the right
eye is solved by fixed-point iteration (slants stay below 0.45 px per px). Same seed and batch index, same data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

OBJECTS = 11
HARMONICS = 2
_SOLVE_STEPS = 4


@dataclass(frozen=True)
class Batch:
    """left, right (B, 3, H, W) in 0..1; disparity px (B, 1, H, W); visible (B, 1, H, W) bool: seen by both eyes."""

    left: torch.Tensor
    right: torch.Tensor
    disparity: torch.Tensor
    visible: torch.Tensor


class SceneMaker:
    """Makes batches from a texture bank (N, 3, S, S)."""

    def __init__(self, bank: torch.Tensor, height: int, width: int, max_disparity: float = 200.0) -> None:
        self.bank, self.device = bank, bank.device
        self.height, self.width, self.max_disparity = height, width, max_disparity
        y, x = torch.meshgrid(torch.arange(height, device=self.device), torch.arange(width, device=self.device), indexing="ij")
        self.x, self.y = x.float()[None], y.float()[None]

    def batch(self, size: int, seed: int) -> Batch:
        """`size` scenes drawn from `seed`, as a camera would deliver them."""
        clean = self.clean(size, seed)
        g = torch.Generator(self.device).manual_seed(seed + 1)
        left, right = camera_faults(clean.left, clean.right, g)
        return Batch(left, right, clean.disparity, clean.visible)

    def clean(self, size: int, seed: int) -> Batch:
        """`size` scenes drawn from `seed`, before any camera."""
        g = torch.Generator(self.device).manual_seed(seed)
        scene = _draw(size, self.height, self.width, self.max_disparity, len(self.bank), g, self.device)
        left, disparity = self._compose(scene, right=False)
        right, right_disparity = self._compose(scene, right=True)
        return Batch(left, right, disparity, _visible(disparity, right_disparity))

    def _compose(self, s: dict[str, torch.Tensor], right: bool) -> tuple[torch.Tensor, torch.Tensor]:
        b = len(s["d0"])
        colour = torch.zeros(b, 3, self.height, self.width, device=self.device)
        disparity = torch.zeros(b, self.height, self.width, device=self.device)
        for i in range(OBJECTS):
            p = {k: v[:, i] for k, v in s.items() if k != "gloss"}
            x, d = self._surface(p, right)
            alpha = self._outline(p, x)
            shade = self._shade(p, s["gloss"][:, i], x, right)
            picked = self._paint(p, x) * shade[:, None]
            colour = colour * (1 - alpha[:, None]) + picked * alpha[:, None]
            disparity = torch.where(alpha > 0.5, d, disparity)
        return colour.clamp(0, 1), disparity[:, None]

    def _surface(self, p: dict[str, torch.Tensor], right: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Left x seen at each pixel of the chosen eye, and the disparity there."""
        x = self.x.expand(len(p["d0"]), -1, -1)
        if not right:
            return x, self._disparity(p, x)
        d = _view(p["d0"]).expand_as(x)
        for _ in range(_SOLVE_STEPS):
            d = self._disparity(p, self.x + d)
        return self.x + d, d

    def _disparity(self, p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        dx, dy = x - _view(p["cx"]), self.y - _view(p["cy"])
        radius = (dx**2 + dy**2) / _view(p["size"]) ** 2
        bulge = _view(p["bulge"]) * torch.exp(-0.7 * radius)
        wave = _view(p["wave"]) * torch.sin(dx * _view(p["wave_x"]) + dy * _view(p["wave_y"]))
        d = _view(p["d0"]) + _view(p["slant_x"]) * dx + _view(p["slant_y"]) * dy + bulge + wave
        return d.clamp(min=0.0)

    def _outline(self, p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Soft coverage (B, H, W): 1 inside, half on the outline; the first object is the background and covers all."""
        c, s = torch.cos(p["turn"]), torch.sin(p["turn"])
        dx, dy = x - _view(p["cx"]), self.y - _view(p["cy"])
        u = (_view(c) * dx + _view(s) * dy) / _view(p["size"])
        v = (_view(c) * dy - _view(s) * dx) / _view(p["size"] * p["aspect"])
        r, angle = torch.sqrt(u**2 + v**2 + 1e-9), torch.atan2(v, u)
        power = _view(p["power"])
        rim = (torch.cos(angle).abs().clamp(min=1e-4) ** power + torch.sin(angle).abs().clamp(min=1e-4) ** power) ** (-1 / power)
        for k in range(HARMONICS):
            rim = rim * (1 + _view(p["wobble"][:, k]) * torch.cos((k + 2) * angle + _view(p["phase"][:, k])))
        thin = _view(p["size"] * p["aspect"].clamp(max=1.0))
        return torch.where(_view(p["everywhere"]) > 0, torch.ones_like(r), ((rim - r) * thin + 0.5).clamp(0, 1))

    def _paint(self, p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        c, s = torch.cos(p["texture_turn"]) * p["texture_scale"], torch.sin(p["texture_turn"]) * p["texture_scale"]
        dx, dy = x - _view(p["cx"]), self.y - _view(p["cy"])
        u, v = _view(c) * dx + _view(s) * dy, _view(c) * dy - _view(s) * dx
        n = self.bank.shape[-1]
        fold = lambda a: 2 * (a / n - torch.floor(a / n)) - 1  # noqa: E731
        tiles = self.bank[p["texture"].long()]
        return F.grid_sample(tiles, torch.stack([fold(u), fold(v)], -1), align_corners=False, padding_mode="border")

    def _shade(self, p: dict[str, torch.Tensor], gloss: torch.Tensor, x: torch.Tensor, right: bool) -> torch.Tensor:
        """Smooth light over the object, and a highlight that sits elsewhere in the other eye."""
        dx, dy = (x - _view(p["cx"])) / _view(p["size"]), (self.y - _view(p["cy"])) / _view(p["size"])
        light = 1 + _view(p["light_x"]) * torch.tanh(dx) + _view(p["light_y"]) * torch.tanh(dy)
        shift = _view(gloss[:, 3]) if right else 0.0
        spot = (dx - _view(gloss[:, 0]) - shift) ** 2 + (dy - _view(gloss[:, 1])) ** 2
        return light + _view(gloss[:, 2]) * torch.exp(-spot / _view(gloss[:, 4]))


def _view(v: torch.Tensor) -> torch.Tensor:
    return v.view(-1, 1, 1)


def _draw(b: int, h: int, w: int, top: float, textures: int, g: torch.Generator, device: torch.device) -> dict[str, torch.Tensor]:
    u = lambda lo, hi, *more: lo + (hi - lo) * torch.rand(b, OBJECTS, *more, generator=g, device=device)  # noqa: E731
    chance = lambda p: (torch.rand(b, OBJECTS, generator=g, device=device) < p).float()  # noqa: E731
    # the scene spans a band of disparities: captures of one object do too, and it may lie anywhere in the range
    far = torch.rand(b, 1, generator=g, device=device) ** 1.5 * (top - 20)
    span = 4 + torch.rand(b, 1, generator=g, device=device) * (top - far - 4)
    d0 = far + span * u(0.0, 1.0).sort(1).values
    size = torch.exp(u(2.3, 5.0)) * (h / 256)
    rod = chance(0.15)
    calm = chance(0.4)
    out = {
        "d0": d0,
        "cx": u(-0.1, 1.1) * w + d0 * 0.5,
        "cy": u(-0.1, 1.1) * h,
        "size": size,
        "turn": u(0, 6.28),
        "aspect": torch.where(rod > 0, u(0.02, 0.12), u(0.3, 1.0)),
        "power": torch.exp(u(0.4, 2.8)),
        "wobble": u(-1, 1, HARMONICS) * (chance(0.4)[..., None] * 0.12),
        "phase": u(0, 6.28, HARMONICS),
        "slant_x": u(-0.3, 0.3) * (1 - calm),
        "slant_y": u(-0.4, 0.4) * (1 - calm),
        "bulge": u(-0.1, 0.3) * size * chance(0.6),
        "wave": u(0, 1.2) * chance(0.3),
        "wave_x": u(-0.12, 0.12),
        "wave_y": u(-0.12, 0.12),
        "light_x": u(-0.35, 0.35),
        "light_y": u(-0.35, 0.35),
        "texture": torch.floor(u(0, textures - 1e-3)),
        "texture_turn": u(0, 6.28),
        "texture_scale": torch.exp(u(-1.5, 0.25)),
        "everywhere": torch.zeros(b, OBJECTS, device=device),
    }
    gloss = u(-0.8, 0.8, 5)
    gloss[..., 2] = gloss[..., 2].abs() * chance(0.3) * 1.2
    gloss[..., 3] *= 0.15
    gloss[..., 4] = 0.01 + gloss[..., 4].abs() * 0.2
    out["gloss"] = gloss
    for key, value in (("everywhere", 1.0), ("bulge", 0.0), ("wave", 0.0), ("slant_x", 0.0)):
        out[key][:, 0] = value
    out["slant_y"][:, 0] = out["slant_y"][:, 0].clamp(min=0) * 0.8  # a table recedes upwards
    out["slant_x"] = out["slant_x"].clamp(-0.3, 0.3)
    return out


def _visible(disparity: torch.Tensor, right_disparity: torch.Tensor) -> torch.Tensor:
    """Whether the right eye sees the same surface where the left pixel lands (within 1 px + 2 %)."""
    w = disparity.shape[-1]
    x = torch.arange(w, device=disparity.device).view(1, 1, 1, w) - disparity
    found = right_disparity.gather(3, x.round().clamp(0, w - 1).long())
    return (x >= 0) & ((found - disparity).abs() < 1 + 0.02 * disparity)


def camera_faults(left: torch.Tensor, right: torch.Tensor, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain, white balance and gamma per eye, vignetting, blur, rows off by up to 1 px, noise, blocky compression, 8 bits."""
    b, _, h, w = left.shape
    u = lambda lo, hi, *s: lo + (hi - lo) * torch.rand(b, *(s or (1, 1, 1)), generator=g, device=left.device)  # noqa: E731
    gamma, dark = u(0.6, 1.6), torch.where(u(0, 1) < 0.15, u(0.1, 0.4), u(0.7, 1.2))
    y, x = torch.meshgrid(torch.linspace(-1, 1, h, device=left.device), torch.linspace(-1, 1, w, device=left.device), indexing="ij")
    vignette = 1 - u(0, 0.25) * (x**2 + y**2)[None, None] / 2
    noise = u(0.0, 0.02) ** 1.0
    rows = u(-1, 1) * (u(0, 1) < 0.4).float()
    out = []
    for eye, image in enumerate((left, right)):
        if eye == 1:
            image = _move_rows(image, rows[:, 0, 0, 0])
        gain = 1 + (u(-0.12, 0.12) + u(-0.06, 0.06, 3, 1, 1)) * eye
        image = (image.clamp(1e-3, 1) ** gamma * dark * vignette * gain).clamp(0, 1)
        image = _blur(image, u(0.0, 0.9))
        image = image + noise * (0.3 + image.sqrt()) * torch.randn(image.shape, generator=g, device=image.device)
        image = _compress(image.clamp(0, 1), u(0.0, 0.05) * (u(0, 1) < 0.7).float())
        out.append((image.clamp(0, 1) * 255).round() / 255)
    return out[0], out[1]


def _move_rows(image: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    b, _, h, _ = image.shape
    theta = torch.zeros(b, 2, 3, device=image.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, 1, 2] = 2 * rows / h
    return F.grid_sample(image, F.affine_grid(theta, list(image.shape), align_corners=False), align_corners=False, padding_mode="border")


def _blur(image: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """Mix with a 3x3 binomial blur."""
    kernel = torch.tensor([0.25, 0.5, 0.25], device=image.device)
    k = (kernel[:, None] * kernel[None]).expand(3, 1, 3, 3)
    soft = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), k, groups=3)
    return image * (1 - amount) + soft * amount


def _compress(image: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """8x8 cosine transform with coefficients rounded to multiples of step * (1 + frequency), as JPEG does."""
    b, c, h, w = image.shape
    n = torch.arange(8, device=image.device, dtype=torch.float32)
    basis = torch.cos((2 * n[None] + 1) * n[:, None] * torch.pi / 16) * 0.5
    basis[0] *= 0.5**0.5
    blocks = image[..., : h // 8 * 8, : w // 8 * 8].reshape(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    coefficient = basis @ blocks @ basis.T
    width = (step.view(b, 1, 1, 1, 1, 1) * (1 + 0.35 * (n[:, None] + n[None]))).clamp(min=1e-4)
    restored = basis.T @ ((coefficient / width).round() * width) @ basis
    out = image.clone()
    out[..., : h // 8 * 8, : w // 8 * 8] = restored.transpose(3, 4).reshape(b, c, h // 8 * 8, w // 8 * 8)
    return out
