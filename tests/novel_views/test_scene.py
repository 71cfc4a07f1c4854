"""New views of a scene without masks: the route that makes no surface, from the folder to the twin's page."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from flows.cli import main as cli
from flows.records.request import Reconstruction
from flows.run.walk import reconstruct_directly
from stages.core.camera_service import look_at
from stages.core.errors import CaptureError, ConfigError
from stages.core.export.write import export_twin
from stages.core.frames import posed, read_poses
from stages.core.images import read_depth
from stages.core.store import Store
from stages.graph import scene_stages
from stages.posed.formats import read

WIDTH, HEIGHT, FOCAL, AWAY, WALL = 64, 48, 70.0, 3.0, 1.5
QUICK = ("novel_views.radiance_steps=300", "novel_views.radiance_samples=8192", "novel_views.score_every=5")


def _painted(x: np.ndarray) -> np.ndarray:
    return 127 + 60 * np.sin(x * [5.0, 4.0, 7.0]) + 50 * np.sin(3 * x[..., [1, 2, 0]] + 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """LLFF: a painted ball before a painted wall, seen from one side; nothing says which is the object."""
    out = tmp_path_factory.mktemp("scene") / "corner"
    (out / "images").mkdir(parents=True)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    own = np.stack([(u - WIDTH / 2 + 0.5) / FOCAL, (v - HEIGHT / 2 + 0.5) / FOCAL, np.ones((HEIGHT, WIDTH))], -1)
    rows = []
    for k, (x, y) in enumerate((x, y) for y in (-0.35, 0.0, 0.35) for x in np.linspace(-0.8, 0.8, 7)):
        pose = look_at((x, y, AWAY))
        rays, eye = own @ pose[:3, :3].T, pose[:3, 3]
        t = (-WALL - eye[2]) / rays[..., 2]
        a, b, c = (rays**2).sum(-1), rays @ eye, eye @ eye - 0.25
        met = b * b > a * c
        t = np.where(met, (-b - np.sqrt(np.where(met, b * b - a * c, 0))) / a, t)
        colour = _painted(eye + t[..., None] * rays).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(out / f"images/{k:03d}.png"), colour[..., ::-1])
        right, down, ahead, at = pose[:3].T
        rows.append([*np.column_stack([down, right, -ahead, at, [HEIGHT, WIDTH, FOCAL]]).ravel(), 1.0, 8.0])
    np.save(out / "poses_bounds.npy", np.array(rows))
    return out


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """(twin folder, store)."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIN_STORE", str(out / "store"))
        words = [
            "reconstruct",
            str(folder),
            "--out",
            str(out / "twin"),
            "--route",
            "scene",
            "--no-prefect",
            "--quiet",
            *QUICK,
        ]
        assert cli.main(words) == 0
        return out / "twin", Store()


def test_the_route_has_no_surface():
    assert [s.name for s in scene_stages()] == ["posed", "novel_views"]


def test_new_views_beat_the_nearest_picture_and_have_depth(made):
    twin, store = made
    assert sorted({s for s, _, _ in store.results()}) == ["novel_views", "posed"]
    metrics = json.loads((twin / "run.json").read_text())["stages"]["novel_views"]["metrics"]
    assert metrics["scored_pictures"] == 5 and metrics["learned_pictures"] == 16 and metrics["covered_share"] > 0.9
    assert metrics["psnr_db"] > metrics["nearest_copied_db"] + 3 and metrics["psnr_db"] > 19
    middle = []
    for score in json.loads((twin / "novel_views/scores.json").read_text()):
        depth = read_depth(twin / f"novel_views/depth/{score['frame']:06d}.tiff")
        assert depth.shape == (HEIGHT, WIDTH) and np.isfinite(depth).mean() > 0.9
        middle.append(float(np.nanmedian(depth[20:28, 28:36])))
    assert np.median(middle) < AWAY - 0.1, "the ball stands before the wall"


def test_the_twin_tells_of_it_without_a_mesh(made):
    twin, _ = made
    record, page = json.loads((twin / "run.json").read_text()), (twin / "report.html").read_text()
    assert "verdict" not in record and not (twin / "mesh.ply").exists() and not (twin / "masks").exists()
    assert "no textured mesh to show" in page and "rendered from the others" in page
    assert (
        record["stages"]["posed"]["frames"] == {"whole": 21}
        and "silhouettes_agree_mean" not in record["stages"]["posed"]["metrics"]
    )
    first = posed(read_poses(twin / "poses.json"))[0]
    assert np.abs(first - look_at((-0.8, -0.35, AWAY))).max() < 1e-6, "in the file's world"


def test_it_goes_out_with_its_cameras(made, folder, tmp_path):
    assert export_twin(made[0], "colmap", tmp_path / "out", made[1]) == 21
    for ours, theirs in zip(read(folder).cameras, read(tmp_path / "out").cameras, strict=True):
        assert (
            np.abs(ours.world_from_camera - theirs.world_from_camera).max() < 1e-6
            and np.abs(ours.K - theirs.K).max() < 1e-6
        )


def test_what_cannot_be_is_refused_and_says_what_can(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))

    def ask(route, *settings, **more):
        return reconstruct_directly(
            Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), route=route, settings=settings, **more)
        )

    with pytest.raises(ConfigError, match="image_based looks through a surface"):
        ask("scene", "novel_views.method=image_based")
    with pytest.raises(ConfigError, match=r"texture.size=512.*no stage of that route"):
        ask("scene", "texture.size=512")
    with pytest.raises(ConfigError, match="needs a textured surface"):
        ask("scene", "material.method=solved")
    with pytest.raises(ConfigError, match="no stage of that route"):
        ask("scene", box=(0, 0, 9, 9))
    with pytest.raises(ConfigError, match=r"posed\.masks=none leaves no object"):
        ask("posed", "posed.masks=none")
    with pytest.raises(CaptureError, match="does not have a mask") as refused:
        ask("auto")
    assert "--route scene" in refused.value.advice


def test_a_video_stays_before_the_scene(folder, tmp_path, monkeypatch):
    pytest.importorskip("av", reason="PyAV (extra video) is not installed: video test not run")
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    settings = (
        "novel_views.radiance_steps=50",
        "novel_views.radiance_samples=2048",
        "novel_views.score_every=0",
        "novel_views.path=spiral",
        "novel_views.frames=6",
        "novel_views.width=64",
    )
    reconstruct_directly(
        Reconstruction(capture=str(folder), out=str(tmp_path / "twin"), route="scene", settings=settings)
    )
    assert (tmp_path / "twin/novel_views/spiral.mp4").stat().st_size > 500
    cameras = json.loads((tmp_path / "twin/novel_views/cameras.json").read_text())
    assert len(cameras) == 6 and max(c["angle_deg"] for c in cameras) < 10, "never far from a picture that was taken"
