"""The host's and the device's stage for frames."""

import numpy as np
import pytest

from fdcmkd_jax.data.rgbd import records
from fdcmkd_jax.data.rgbd.stages import (
    IGNORED,
    MODALITIES,
    FrameTransform,
    frame_size,
    of_depth,
    preprocessing,
)

HEIGHT, WIDTH = 24, 32


def record(hha=b""):
    """A frame whose depth and red channel tell the row and column of a pixel, as its label does."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    labels = (rows // 6 * 8 + columns // 4).astype(np.uint8)
    labels[:2] = IGNORED
    image = np.stack([labels, rows.astype(np.uint8), columns.astype(np.uint8)], axis=-1)
    frame = records.Frame(image, (labels.astype(np.uint16) * 100 + 7), labels, hha)
    files = {name: records.to_png(getattr(frame, name)) for name in ("image", "depth", "labels")}
    return {**files, "hha": frame.hha, "id": 5}


def test_evaluation_reads_whole_frames_without_loss():
    example = FrameTransform(crop=(8, 8), scales=(0.5, 2.0))(record(), None, MODALITIES)
    assert example["label"].shape == (HEIGHT, WIDTH)
    assert example["label"].dtype == np.int32
    assert np.all(example["label"][:2] == IGNORED)
    np.testing.assert_array_equal(example["depth"]["depth"], example["label"] * 100 + 7)
    np.testing.assert_array_equal(example["image"]["pixels"][..., 0], example["label"])
    assert (example["id"], frame_size(record())) == (5, (HEIGHT, WIDTH))


@pytest.mark.parametrize("scales", [(0.3, 0.5), (1.0, 1.0), (1.5, 2.5)])
def test_training_scales_crops_and_flips_all_modalities_alike(scales):
    transform = FrameTransform(crop=(20, 16), scales=scales)
    flips = set()
    for seed in range(12):
        example = transform(record(), np.random.default_rng(seed), MODALITIES)
        label, depth = example["label"], example["depth"]["depth"].astype(int)
        pixels = example["image"]["pixels"].astype(int)
        assert label.shape == depth.shape == pixels.shape[:2] == (20, 16)
        inside = depth > 0
        # Depth and labels are of the same pixels, and padding has neither.
        np.testing.assert_array_equal(depth[inside], label[inside] * 100 + 7)
        assert np.all(label[~inside] == IGNORED)
        assert np.all(pixels[~inside] == 0)
        # Pictures are scaled between pixels, so they may be one cell away.
        rows = np.round((pixels[..., 1] - 2.5) / 6)[inside & (label != IGNORED)]
        assert np.abs(rows - label[inside & (label != IGNORED)] // 8).max() <= 1
        columns = pixels[..., 2][inside.any(1)][0]
        columns = columns[inside[inside.any(1)][0]]
        flips.add(bool(columns[0] > columns[-1]))
    assert flips == {True, False}


def test_draws_do_not_depend_on_the_modalities_asked_for():
    transform = FrameTransform(crop=(20, 16), scales=(0.5, 2.0))
    both = transform(record(), np.random.default_rng(3), MODALITIES)
    for modality in MODALITIES:
        alone = transform(record(), np.random.default_rng(3), (modality,))
        np.testing.assert_array_equal(alone["label"], both["label"])
        (name,) = alone[modality]
        np.testing.assert_array_equal(alone[modality][name], both[modality][name])


def test_borders_are_cut_off_and_classes_renamed():
    transform = FrameTransform(border=(4, 8, 3, 1), classes=(1, 0) + (2,) * 40)
    example = transform(record(), None, MODALITIES)
    assert example["label"].shape == (HEIGHT - 12, WIDTH - 4)
    whole = FrameTransform()(record(), None, MODALITIES)
    np.testing.assert_array_equal(example["depth"]["depth"], whole["depth"]["depth"][4:-8, 3:-1])
    cut = whole["label"][4:-8, 3:-1]
    expected = np.where(cut == 0, 1, np.where(cut == 1, 0, 2))
    np.testing.assert_array_equal(example["label"], expected)
    ignored = FrameTransform(classes=(1, 0))(record(), None, ())["label"]
    assert np.all(ignored[:2] == IGNORED)  # 255 is in no table.


def test_depth_encoded_as_hha_is_read_from_its_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    transform = FrameTransform(depth="hha")
    example = transform(record(records.to_png(pixels)), None, ("depth",))
    np.testing.assert_array_equal(example["depth"]["pixels"], pixels)


def test_preprocessing_scales_depth_and_is_rebuilt_from_its_constants():
    made = of_depth((2, 3), 10_000.0)
    x = made.function({"depth": np.full((1, 2, 3), 2500, np.uint16)})
    np.testing.assert_allclose(x, np.full((1, 2, 3, 1), 0.25))
    assert preprocessing("depth", made.constants) == made
    picture = preprocessing("image", {"size": [2, 3]})
    white = picture.function({"pixels": np.full((1, 2, 3, 3), 255, np.uint8)})
    np.testing.assert_allclose(white[0, 0, 0], (1 - np.array([0.485, 0.456, 0.406])) / 0.229, 0.1)
    with pytest.raises(KeyError):
        preprocessing("text", {"size": [2, 3]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": (2.0, 0.5)}, "scales must be two positive numbers in rising order"),
        ({"scales": (1.0,)}, "scales must be two positive numbers in rising order"),
        ({"crop": (0, 8)}, "crop must be two positive sides"),
        ({"crop": (8, 8, 8)}, "crop must be two positive sides"),
    ],
)
def test_a_bad_value_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FrameTransform(**options)
