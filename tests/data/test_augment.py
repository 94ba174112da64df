import numpy as np
import pytest

from fdcmkd_jax.data import augment
from fdcmkd_jax.registry import ConfigError

OPTIONS = {"shift": {"pixels": 2}, "mask_frames": {"max_frames": 3}}
DRAWS = 200  # Enough to meet every outcome of the small draws below.


def draw(name, x, seed=0, **options):
    return augment.make(name, **(options or OPTIONS[name]))(x, np.random.default_rng(seed))


def example(rng):
    """No zeros, so that what was zeroed can be told."""
    return rng.uniform(1.0, 2.0, size=(6, 5, 2)).astype(np.float32)


def test_every_augmentation_is_covered_here():
    assert sorted(OPTIONS) == sorted(augment.TABLE)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_shape_and_dtype_are_kept_and_the_input_untouched(name, rng):
    x = example(rng)
    before = x.copy()
    for seed in range(20):
        actual = draw(name, x, seed)
        assert actual.shape == x.shape
        assert actual.dtype == x.dtype
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_one_random_state_gives_one_result_and_others_differ(name, rng):
    x = example(rng)
    np.testing.assert_array_equal(draw(name, x, 3), draw(name, x, 3))
    assert len({draw(name, x, seed).tobytes() for seed in range(DRAWS)}) > 5


def test_shift_moves_by_at_most_its_pixels_and_fills_with_zeros(rng):
    x = example(rng)
    allowed = {}
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = np.zeros_like(x)
            for row in range(6):
                for column in range(5):
                    if 0 <= row - down < 6 and 0 <= column - right < 5:
                        moved[row, column] = x[row - down, column - right]
            allowed[moved.tobytes()] = (down, right)
    met = {allowed[draw("shift", x, seed).tobytes()] for seed in range(DRAWS)}
    assert met == set(allowed.values())


def test_masked_frames_are_neighbours_at_most_so_many_and_the_rest_is_kept(rng):
    x = example(rng)
    lengths = set()
    for seed in range(DRAWS):
        actual = draw("mask_frames", x, seed)
        zeroed = np.flatnonzero((actual == 0).all(axis=(1, 2)))
        lengths.add(len(zeroed))
        kept = np.setdiff1d(np.arange(6), zeroed)
        np.testing.assert_array_equal(actual[kept], x[kept])
        assert len(zeroed) == 0 or np.ptp(zeroed) == len(zeroed) - 1
    assert lengths == {0, 1, 2, 3}


def test_a_mask_longer_than_the_clip_leaves_a_clip_of_the_same_length(rng):
    x = example(rng)
    results = [draw("mask_frames", x, seed, max_frames=50) for seed in range(20)]
    assert all(result.shape == x.shape for result in results)
    assert any((result == 0).all() for result in results)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shift", {"pixels": 0}, "'shift': pixels must be positive, got 0"),
        ("mask_frames", {"max_frames": -1}, "'mask_frames': max_frames must be positive, got -1"),
        ("shift", {}, "augmentation 'shift' needs the option 'pixels'"),
        ("shift", {"pixel": 1}, "unknown option of augmentation 'shift': 'pixel'.*mean 'pixels'"),
        ("flip", {}, "unknown augmentation 'flip'; known: mask_frames, shift"),
    ],
)
def test_a_mistake_is_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        augment.make(name, **options)
