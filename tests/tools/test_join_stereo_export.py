"""Two toy files in the form of Fast-FoundationStereo's export become one that depth.method=onnx runs, and that measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed: joining exports is not tested")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: joining exports is not tested")

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from stages.depth.onnx_contract import contract
from stages.depth.onnx_session import OnnxSession
from stages.depth.onnx_stereo import OnnxStereo
from tests.depth.conftest import make_pair
from tools.join_stereo_export import LEFT, RIGHT, VOLUME, Correlation, correlation, joined, main, read_settings

HEIGHT, WIDTH, CHANNELS = 288, 384, 32
KIND = Correlation(groups=4, disparities=16, normalised=True)


def value(name: str, *shape: int):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model(nodes, inputs, outputs, constants=()):
    made = helper.make_graph(nodes, "toy", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in constants])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def feature_runner():
    """Quarter-size features of both eyes by random 8x8 filters, and what the second file ignores."""
    filters = np.random.default_rng(0).normal(size=(CHANNELS, 3, 8, 8)).astype(np.float32)
    filters -= filters.mean((1, 2, 3), keepdims=True)  # blind to brightness
    eyes = ("left", LEFT), ("right", RIGHT)
    nodes = [helper.make_node("Conv", [i, "filters"], [o], strides=[4, 4], pads=[2, 2, 2, 2]) for i, o in eyes]
    nodes.append(helper.make_node("AveragePool", ["left"], ["stem_2x"], kernel_shape=[2, 2], strides=[2, 2]))
    outputs = [value(n, 1, CHANNELS, HEIGHT // 4, WIDTH // 4) for n in (LEFT, RIGHT)] + [
        value("stem_2x", 1, 3, HEIGHT // 2, WIDTH // 2)
    ]
    return model(nodes, [value(n, 1, 3, HEIGHT, WIDTH) for n in ("left", "right")], outputs, [("filters", filters)])


def post_runner():
    """Mean over the groups, expected disparity under a soft maximum, enlarged."""
    nodes = [
        helper.make_node("ReduceMean", [VOLUME], ["score"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["score", "sharp"], ["sharpened"]),
        helper.make_node("Softmax", ["sharpened"], ["share"], axis=1),
        helper.make_node("Mul", ["share", "range"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "over"], ["small"], keepdims=1),
        helper.make_node("Resize", ["small", "", "sizes"], ["disp"], mode="nearest"),
    ]
    reach = 4 * np.arange(KIND.disparities, dtype=np.float32).reshape(1, -1, 1, 1)
    constants = [
        ("sharp", np.float32(25)),
        ("range", reach),
        ("over", np.array([1], np.int64)),
        ("sizes", np.float32([1, 1, 4, 4])),
    ]
    inputs = [value(n, 1, CHANNELS, HEIGHT // 4, WIDTH // 4) for n in (LEFT, RIGHT)]
    inputs += [
        value("stem_2x", 1, 3, HEIGHT // 2, WIDTH // 2),
        value(VOLUME, 1, KIND.groups, KIND.disparities, HEIGHT // 4, WIDTH // 4),
    ]
    return model(nodes, inputs, [value("disp", 1, 1, HEIGHT, WIDTH)], constants)


@pytest.mark.parametrize("normalised", [True, False])
def test_correlation_against_its_slow_twin(normalised, tmp_path):
    kind = Correlation(2, 5, normalised)
    left, right = np.random.default_rng(1).normal(size=(2, 1, 6, 3, 9)).astype(np.float32)
    onnx.save(correlation(kind, value(LEFT, 1, 6, 3, 9), value(RIGHT, 1, 6, 3, 9), 17), str(tmp_path / "c.onnx"))
    session = ort.InferenceSession(str(tmp_path / "c.onnx"), providers=["CPUExecutionProvider"])
    found = session.run([VOLUME], {LEFT: left, RIGHT: right})[0]
    a, b = (f[0].reshape(2, 3, 3, 9) for f in (left, right))
    if normalised:
        a, b = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (a, b))
    for d in range(5):
        wanted = np.zeros((2, 3, 9), np.float32)
        wanted[..., d:] = (a[..., d:] * b[..., : 9 - d]).sum(1)
        np.testing.assert_allclose(found[0, :, d], wanted, atol=1e-5)


def write_export(folder: Path) -> None:
    onnx.save(feature_runner(), str(folder / "feature_runner.onnx"))
    onnx.save(post_runner(), str(folder / "post_runner.onnx"))
    (folder / "onnx.yaml").write_text("max_disp: 64\ncv_group: 4\nnormalize: true\n")


def test_the_joined_file_measures_a_pair(tmp_path, monkeypatch, capsys):
    write_export(tmp_path)
    assert read_settings(tmp_path / "onnx.yaml") == KIND
    out = tmp_path / "one.onnx"
    monkeypatch.setattr("sys.argv", ["join", str(tmp_path), "--out", str(out)])
    main()
    assert f"twin weights add {out}" in capsys.readouterr().out
    expects = contract("toy", {"inputs": ["left", "right"], "output": "disp"})
    session = OnnxSession(out, expects, "cpu", 1)
    assert session.fixed_size == (HEIGHT, WIDTH)
    pair = make_pair(HEIGHT, WIDTH)
    found = OnnxStereo(session, expects, session.fixed_size, 1.0, 1.0, 8.0, 0.5)(pair.left, pair.right)
    error = np.abs(found.disparity_px - pair.truth)[pair.visible & pair.textured]
    assert np.isfinite(error).mean() > 0.6 and np.nanmedian(error) < 2.5  # a quarter of the size, to the nearest


def test_files_that_do_not_fit_are_named(tmp_path, monkeypatch):
    other = feature_runner()
    other.graph.output[1].name = "features_right_08"
    other.graph.node[1].output[0] = "features_right_08"
    with pytest.raises(SystemExit, match=f"{RIGHT} is missing"):
        joined(other, post_runner(), KIND)
    with pytest.raises(SystemExit, match="3 groups do not divide"):
        joined(feature_runner(), post_runner(), Correlation(3, 16, True))
    monkeypatch.setattr("sys.argv", ["join", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"feature_runner\.onnx is missing: run the authors'"):
        main()
