"""The host's stage for clips."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest
from clip_files import jpeg

from fdcmkd_jax.data.clips.frames import choose_frames, decode
from fdcmkd_jax.data.clips.preprocessing import MEAN, STD, of_audio, of_visual, preprocessing
from fdcmkd_jax.data.clips.spectrogram import SMALL, log_spectrogram
from fdcmkd_jax.data.clips.transform import MODALITIES, ClipTransform
from fdcmkd_jax.data.host import HostStage

SAMPLES = 500


def record(seed=0, *, length=900, pictures=5, dtype=np.int16):
    random = np.random.default_rng(seed)
    waveform = random.integers(-9000, 9000, size=length).astype(np.int16)
    return {
        "waveform": waveform if dtype == np.int16 else (waveform / 32768).astype(dtype),
        "frames": [
            jpeg(random.integers(0, 256, size=(30, 40, 3)).astype(np.uint8))
            for _ in range(pictures)
        ],
        "label": np.int32(seed % 3),
        "id": np.int32(seed),
    }


FULL = ClipTransform(
    SAMPLES,
    image_size=16,
    num_frames=3,
    time_crop=True,
    mask_shape=(20, 30),
    num_masks=2,
    time_mask=12,
    frequency_mask=40,
)
PLAIN = ClipTransform(SAMPLES, image_size=16)
TRANSFORMS = {"full": FULL, "plain": PLAIN}


def generator(seed=0):
    return np.random.default_rng(seed)


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("length", [1, 120, 500, 3000])
@pytest.mark.parametrize("pictures", [1, 2, 9])
def test_every_clip_gives_arrays_of_the_same_shapes(dtype, length, pictures):
    clip = record(4, length=length, pictures=pictures, dtype=dtype)
    for random in (None, generator()):
        example = FULL(clip, random, MODALITIES)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), example) == {
            "label": ((), np.int32),
            "id": ((), np.int32),
            "audio": {
                "waveform": ((SAMPLES,), dtype),
                "time_masks": ((2, 2), np.int32),
                "frequency_masks": ((2, 2), np.int32),
            },
            "visual": {"frames": ((3, 16, 16, 3), np.uint8)},
        }
        plain = PLAIN(clip, random, MODALITIES)
        assert plain["visual"]["frames"].shape == (16, 16, 3)
        assert set(plain["audio"]) == {"waveform"}
        assert (plain["label"], plain["id"]) == (1, 4)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_evaluation_is_the_same_each_time_and_training_differs(name):
    make, clip = TRANSFORMS[name], record()
    assert_same(make(clip, None, MODALITIES), make(clip, None, MODALITIES))
    assert_same(make(clip, generator(3), MODALITIES), make(clip, generator(3), MODALITIES))
    forms = [make(clip, generator(seed), MODALITIES) for seed in range(20)]
    for modality in MODALITIES:
        different = {
            b"".join(x.tobytes() for x in jax.tree.leaves(form[modality])) for form in forms
        }
        assert (len(different) > 10) == (modality in make.augmented)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_modality_is_drawn_alike_whoever_reads_the_other(name):
    make = TRANSFORMS[name]
    for seed in range(10):
        both = make(record(), generator(seed), MODALITIES)
        for modality in MODALITIES:
            alone = make(record(), generator(seed), {modality})
            assert set(alone) == {"label", "id", modality}
            assert_same(alone[modality], both[modality])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_partner_identical_to_the_example_gets_the_arrays_of_the_true_pair(name):
    clip, other = record(), record(1)
    stage = HostStage(TRANSFORMS[name], ("visual",), ("audio", "visual"))
    for seed in range(10):
        true = stage(clip, generator(seed))
        broken = stage({**clip, "partner": clip}, generator(seed))
        assert_same(broken["visual"], true["visual"])
        for modality in MODALITIES:
            assert_same(broken["partner"][modality], true[modality])
        unlike = stage({**clip, "partner": other}, generator(seed))
        assert_same(unlike["visual"], true["visual"])
        assert (unlike["partner"]["audio"]["waveform"] != true["audio"]["waveform"]).any()


def test_evaluation_reads_the_middle_of_the_sound_and_of_the_pictures():
    clip = record()
    example = FULL(clip, None, MODALITIES)
    np.testing.assert_array_equal(example["audio"]["waveform"], clip["waveform"][200:700])
    chosen = [clip["frames"][place] for place in choose_frames(5, 3, None)]
    np.testing.assert_array_equal(example["visual"]["frames"], decode(chosen, 16, None, False))
    middle = PLAIN(clip, None, MODALITIES)["visual"]["frames"]
    np.testing.assert_array_equal(middle, decode(clip["frames"][2:3], 16, None, False)[0])


def test_a_time_crop_in_training_lies_anywhere_in_the_sound():
    clip = {**record(), "waveform": np.arange(900, dtype=np.int16)}
    starts = []
    for seed in range(200):
        waveform = FULL(clip, generator(seed), {"audio"})["audio"]["waveform"]
        np.testing.assert_array_equal(np.diff(waveform), 1)
        starts.append(int(waveform[0]))
    assert min(starts) < 20
    assert 380 < max(starts) <= 400


def test_without_time_crop_the_first_samples_are_read():
    clip = record()
    for random in (None, generator()):
        audio = PLAIN(clip, random, {"audio"})["audio"]
        np.testing.assert_array_equal(audio["waveform"], clip["waveform"][:SAMPLES])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_short_sound_is_repeated_from_its_start(name):
    clip = record(length=180)
    for random in (None, generator()):
        waveform = TRANSFORMS[name](clip, random, {"audio"})["audio"]["waveform"]
        expected = np.concatenate([clip["waveform"]] * 3)[:SAMPLES]
        np.testing.assert_array_equal(waveform, expected)


def test_masks_lie_inside_the_spectrogram_and_evaluation_has_none():
    widths = {"time_masks": [], "frequency_masks": []}
    for seed in range(200):
        audio = FULL(record(), generator(seed), {"audio"})["audio"]
        for name, size, longest in (("time_masks", 30, 12), ("frequency_masks", 20, 20)):
            start, width = audio[name].T
            assert (start >= 0).all()
            assert (width >= 0).all()
            assert (width <= longest).all()
            assert (start + width <= size).all()
            widths[name].extend(width)
    assert (min(widths["time_masks"]), max(widths["time_masks"])) == (0, 12)
    assert max(widths["frequency_masks"]) == 20  # No mask is wider than the spectrogram.
    still = FULL(record(), None, {"audio"})["audio"]
    assert all((still[name][:, 1] == 0).all() for name in widths)


def test_pictures_are_left_whole_without_augmentation():
    whole = dataclasses.replace(PLAIN, image_augment=False)
    clip = record(pictures=1)
    one, other = (whole(clip, random, {"visual"}) for random in (None, generator()))
    assert_same(one["visual"], other["visual"])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_worker_process_gets_the_same_transform(name):
    make = TRANSFORMS[name]
    copy = pickle.loads(pickle.dumps(make))
    assert copy == make
    assert_same(copy(record(), generator(), MODALITIES), make(record(), generator(), MODALITIES))


def test_pictures_are_normalized_on_the_device_as_torchvision_does(rng):
    for num_frames, shape in ((1, (4, 16, 16, 3)), (3, (4, 3, 16, 16, 3))):
        steps = of_visual(16, num_frames)
        assert steps.inputs == {"frames": (shape[1:], "uint8")}
        pixels = rng.integers(0, 256, size=shape).astype(np.uint8)
        result = jax.jit(steps.function)({"frames": pixels})
        np.testing.assert_allclose(
            result, (pixels / 255 - np.array(MEAN)) / np.array(STD), rtol=1e-5, atol=1e-6
        )


def test_sound_becomes_a_spectrogram_on_the_device_with_masks_only_where_some_are_given(rng):
    steps = of_audio(SMALL, "int16")
    waveform = rng.integers(-9000, 9000, size=(2, SMALL.num_samples)).astype(np.int16)
    function = jax.jit(steps.function)
    plain = function({"waveform": waveform})
    np.testing.assert_allclose(plain, log_spectrogram(waveform, SMALL), rtol=0, atol=1e-4)
    none = np.zeros((2, 1, 2), np.int32)
    still = {"waveform": waveform, "time_masks": none, "frequency_masks": none}
    np.testing.assert_array_equal(function(still), plain)
    some = none.copy()
    some[..., 1] = 4
    covered = np.asarray(function({**still, "time_masks": some}) != plain)
    assert covered[:, :, :4].all()
    assert not covered[:, :, 4:].any()


@pytest.mark.parametrize("steps", [of_audio(SMALL, "float32"), of_visual(24, 3)])
def test_a_preprocessing_is_rebuilt_from_its_constants(steps):
    modality = "audio" if "waveform" in steps.inputs else "visual"
    rebuilt = preprocessing(modality, steps.constants)
    assert rebuilt == steps, "the same function, so that a program is compiled once"


@pytest.mark.parametrize(
    ("modality", "constants", "error"),
    [
        ("smell", {}, KeyError),
        ("visual", {"size": 24}, KeyError),
        ("audio", {**of_audio(SMALL, "int16").constants, "pitch": 3}, TypeError),
        ("audio", dataclasses.asdict(SMALL), KeyError),
    ],
)
def test_constants_of_something_else_are_refused(modality, constants, error):
    with pytest.raises(error):
        preprocessing(modality, constants)
