"""Teaching the mask network: examples keep their truth when they are changed, it learns, and what is written is what was taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.masks.cut import mask_net
from tests.masks.test_mask_net import SCENE, WHOLE, cues
from tools.mask_net import examples as found_windows
from tools.mask_net import learn
from tools.mask_net.examples import _heard, _in_window, read_examples
from tools.mask_net.learn import Examples, changed, mask_loss, overlaps, taught, write_onnx
from tools.mask_net.network import MaskNet


@pytest.fixture(scope="module")
def some() -> Examples:
    """Windows of a thing that moves before a wall, with weak evidence."""
    seen = [cues(k, strength=0.5) for k in range(6)]
    truth = np.stack([_in_window(SCENE.mask(c.frame), c) for c in seen])
    return Examples(np.stack([mask_net.channels(c) for c in seen]).astype(np.float16), truth, np.arange(6))


def test_the_truth_moves_with_what_is_seen(some: Examples) -> None:
    rng = np.random.default_rng(0)
    for k in range(12):
        x, y = changed(some.cues[k % 6].astype(np.float32), some.truth[k % 6], rng)
        assert x.shape == some.cues.shape[1:] and np.abs(x).max() <= 1 and 0 <= y.min() and y.max() <= 1
        reliable = (x[4] > 0.5) & (x[3] > -0.2)  # the thing's own depth, where it was not hidden
        if reliable.sum() > 300:
            assert y[reliable].mean() > 0.9


def test_it_learns_and_the_file_is_the_network(some: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    said: list[float] = []
    monkeypatch.setattr(learn, "BATCH", len(some.cues))
    net = taught(some, 25, 0, lambda step, loss, now: said.append(loss))
    untaught = MaskNet().eval()
    assert len(said) == 1 and overlaps(net, some).mean() > overlaps(untaught, some).mean() + 0.2
    write_onnx(net, tmp_path / "net.onnx")
    with torch.inference_mode():
        expected = net(torch.from_numpy(mask_net.channels(cues(3)))[None])[0, 0].numpy()
    monkeypatch.setattr(mask_net, "_own", type("Own", (), {})())
    monkeypatch.setattr(mask_net, "_weights", (tmp_path / "net.onnx").read_bytes)
    size = mask_net.shown_size((240, 320))
    again = mask_net.opinion(cues(3))
    assert np.abs(again[::2, ::2].mean() - expected[: size[1], : size[0]].mean()) < 0.02


def test_a_right_guess_costs_less_than_a_wrong_one() -> None:
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 4:12, 4:12] = 1
    right = 6 * (2 * truth - 1)
    assert mask_loss(right, truth) < 0.05 < mask_loss(0 * truth, truth) < mask_loss(-right, truth)


def test_windows_are_kept_while_the_stage_looks(tmp_path: Path) -> None:
    """In place of the network a listener is asked, and afterwards the network again."""
    from stages.masks.stereo_method import StereoMethod

    heard: list[mask_net.Cues] = []

    def listen(seen: mask_net.Cues) -> mask_net.Weighed:
        heard.append(seen)
        return mask_net.Weighed(seen.llr + seen.prior, None)

    with _heard(listen):
        list(StereoMethod().segment(SCENE.job()).results)
    assert {c.frame for c in heard} == set(range(6)) and all(
        m.weighed is mask_net.weighed for m in found_windows.ASKING
    )
    shares = [(_in_window(SCENE.mask(c.frame), c) > 127).mean() for c in heard]
    assert min(shares) > 0.02
    seen = np.stack([mask_net.channels(c) for c in heard])
    np.savez_compressed(tmp_path / "00007.npz", cues=seen, truth=np.zeros((len(heard), 160, 160), np.uint8))
    assert (read_examples([tmp_path / "00007.npz"]).capture == 7).all()
    assert heard[0].llr.shape == (heard[0].rgb.shape[:2]) and WHOLE.slices[0].stop == 240
