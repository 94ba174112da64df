"""Random crops, choice of frames and decoding of pictures."""

import math

import numpy as np
import pytest
from clip_files import installed, jpeg, pixels_of
from PIL import Image
from scipy import stats

from fdcmkd_jax.data.clips import frames
from fdcmkd_jax.data.clips.frames import Crop, choose_frames, decode, random_crop, size_of

PHOTO = "gradio/media_assets/images/cheetah.jpg"


def restated(height, width, random, scale=(0.08, 1.0), ratio=(0.75, 4 / 3)):
    """The crop that torchvision's documentation describes, from the same draws."""
    for _ in range(10):
        target = random.uniform(*scale) * height * width
        aspect = np.exp(random.uniform(np.log(ratio[0]), np.log(ratio[1])))
        size = [round(float(np.sqrt(target / aspect))), round(float(np.sqrt(target * aspect)))]
        if 0 < size[0] <= height and 0 < size[1] <= width:
            top = random.integers(height - size[0] + 1)
            left = random.integers(width - size[1] + 1)
            return (top, left, *size)
    shape = width / height
    if shape < ratio[0]:
        size = [round(width / ratio[0]), width]
    elif shape > ratio[1]:
        size = [height, round(height * ratio[1])]
    else:
        size = [height, width]
    return ((height - size[0]) // 2, (width - size[1]) // 2, *size)


@pytest.mark.parametrize("size", [(360, 480), (48, 64), (200, 90), (17, 300), (1, 1), (300, 5)])
def test_a_crop_is_the_one_torchvision_describes_for_the_same_draws(size):
    for seed in range(200):
        expected = restated(*size, np.random.default_rng(seed))
        assert random_crop(*size, np.random.default_rng(seed)) == expected


@pytest.mark.parametrize("size", [(360, 480), (48, 64), (200, 90), (17, 300), (1, 1), (300, 5)])
def test_a_crop_lies_inside_the_picture(size, rng):
    for _ in range(300):
        crop = random_crop(*size, rng)
        assert crop.height > 0
        assert crop.width > 0
        assert 0 <= crop.top <= size[0] - crop.height
        assert 0 <= crop.left <= size[1] - crop.width


def test_area_and_ratio_are_drawn_evenly_and_evenly_in_the_logarithm(rng):
    # No crop of at most half of a square leaves it, so no draw is repeated.
    crops = [random_crop(2000, 2000, rng, scale=(0.1, 0.5)) for _ in range(2000)]
    areas = [crop.height * crop.width / 2000**2 for crop in crops]
    assert min(areas) > 0.1 - 1e-3
    assert max(areas) < 0.5 + 1e-3
    assert stats.kstest(areas, stats.uniform(0.1, 0.4).cdf).pvalue > 0.05
    ratios = [math.log(crop.width / crop.height) for crop in crops]
    bound = math.log(4 / 3)
    assert max(np.abs(ratios)) < bound + 1e-2
    assert stats.kstest(ratios, stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.05
    places = [crop.left / (2000 - crop.width) for crop in crops]
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 0.05


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 1000), Crop(0, 493, 10, 13)),
        ((900, 9), Crop(444, 0, 12, 9)),
    ],
)
def test_a_long_picture_falls_back_to_its_middle_at_the_nearest_allowed_ratio(size, expected):
    crops = {
        random_crop(*size, np.random.default_rng(seed), scale=(0.9, 1.0)) for seed in range(20)
    }
    assert crops == {expected}


def test_a_scale_that_never_fits_gives_the_whole_picture_of_an_allowed_ratio(rng):
    assert random_crop(90, 100, rng, scale=(2.0, 3.0)) == Crop(0, 0, 90, 100)


@pytest.mark.parametrize(
    ("available", "count", "expected"),
    [
        (1, 1, [0]),
        (3, 1, [1]),
        (4, 1, [2]),
        (10, 1, [5]),
        (9, 3, [1, 4, 7]),
        (3, 3, [0, 1, 2]),
        (2, 3, [0, 1, 1]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_evaluation_reads_the_middle_of_equal_parts(available, count, expected):
    assert list(choose_frames(available, count, None)) == expected


def test_training_draws_every_frame_alike_in_order_and_without_repetition(rng):
    draws = [choose_frames(5, 3, rng) for _ in range(400)]
    assert all(len(set(draw)) == 3 and draw == sorted(draw) for draw in draws)
    times = np.bincount(np.ravel(draws), minlength=5)
    assert stats.chisquare(times).pvalue > 0.05
    singles = np.bincount([choose_frames(4, 1, rng)[0] for _ in range(400)], minlength=4)
    assert stats.chisquare(singles).pvalue > 0.05


def test_frames_are_repeated_only_where_there_are_too_few(rng):
    for _ in range(50):
        draw = choose_frames(2, 5, rng)
        assert len(draw) == 5
        assert set(draw) <= {0, 1}
        assert list(choose_frames(3, 3, rng)) == [0, 1, 2]


@pytest.fixture(scope="module")
def photo():
    return installed("gradio", PHOTO).read_bytes()


def test_the_whole_picture_is_resized_straight_to_the_side(photo):
    with Image.open(installed("gradio", PHOTO)) as image:
        assert size_of(photo) == (image.height, image.width)
        assert image.width != image.height
        expected = np.asarray(image.convert("RGB").resize((56, 56), Image.Resampling.BILINEAR))
    result = decode([photo], 56, None, False)
    assert (result.shape, result.dtype) == ((1, 56, 56, 3), np.uint8)
    np.testing.assert_array_equal(result[0], expected)


def test_a_crop_is_that_rectangle_resized(photo):
    box = (40, 20, 310, 230)
    with Image.open(installed("gradio", PHOTO)) as image:
        rectangle = image.convert("RGB").crop(box)
        by_hand = rectangle.resize((56, 56), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode([photo], 56, box, False)[0], np.asarray(by_hand))


def test_a_crop_without_resizing_keeps_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 30, 3)).astype(np.uint8)
    result = decode([jpeg(pixels, "PNG")], 8, (5, 3, 13, 11), False)
    np.testing.assert_array_equal(result[0], pixels[3:11, 5:13])


@pytest.mark.parametrize("box", [None, (3, 4, 25, 30)])
def test_a_flip_mirrors_left_and_right_of_every_frame(photo, box, rng):
    pictures = [photo, jpeg(rng.integers(0, 256, size=(40, 50, 3)).astype(np.uint8))]
    plain, flipped = (decode(pictures, 24, box, flip) for flip in (False, True))
    np.testing.assert_array_equal(flipped, np.flip(plain, axis=2))
    assert flipped.flags.c_contiguous
    assert (plain != flipped).any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_pictures_of_other_color_modes_become_rgb(mode, rng):
    gray = Image.fromarray(rng.integers(0, 256, size=(12, 12)).astype(np.uint8))
    encoded = jpeg(np.asarray(gray.convert("RGB")), "PNG")
    converted = jpeg(np.asarray(gray.convert(mode)), "PNG")
    result = decode([converted], 12, None, False)
    assert result.shape == (1, 12, 12, 3)
    if mode != "P":  # An array keeps the indices of a palette, not the palette.
        np.testing.assert_array_equal(result[0], pixels_of(encoded))


def test_the_constants_are_those_of_torchvision():
    assert (frames.SCALE, frames.RATIO, frames.ATTEMPTS) == ((0.08, 1.0), (3 / 4, 4 / 3), 10)
