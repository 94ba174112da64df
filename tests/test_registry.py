"""Building what a name and its options in a config describe."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pytest
from builders import toy_data

from fdcmkd_jax.registry import (
    ConfigError,
    build,
    build_once,
    build_section,
    check_choice,
    constructor,
    defaults,
    unknown,
)


def paint(color, size=1, context=None):
    if size < 1:
        raise ValueError(f"size must be positive, got {size}.")
    return color, size, context


def varnish(gloss=0.5):
    return gloss


TABLE = {"paint": paint, "varnish": varnish}


def test_a_name_and_keywords_build_the_thing():
    assert build("finish", TABLE, "paint", {"color": "red", "size": 3}) == ("red", 3, None)


def test_context_reaches_a_constructor_that_takes_it():
    actual = build("finish", TABLE, "paint", {"color": "red"}, context="wall")
    assert actual == ("red", 1, "wall")


def test_context_is_kept_from_a_constructor_that_does_not_take_it():
    assert build("finish", TABLE, "varnish", {}, context="wall") == 0.5


@pytest.mark.parametrize("change", [{"color": "blue"}, {"size": 3.0}, {"size": True}])
def test_the_same_request_gives_the_same_object_and_another_one_another(change):
    options = {"color": "red", "size": 1}
    first = build_once("finish", TABLE, "paint", options, context="wall")
    assert build_once("finish", TABLE, "paint", dict(options), context="wall") is first
    assert build_once("finish", TABLE, "paint", {**options, **change}, context="wall") is not first
    assert build_once("finish", TABLE, "paint", options, context="floor") is not first


def test_what_is_built_once_is_built_anew_by_another_constructor_or_from_no_plain_data():
    options = {"color": "red"}
    first = build_once("finish", TABLE, "paint", options)
    other = {"paint": lambda color: color}
    assert build_once("finish", other, "paint", options) == "red"
    assert first == ("red", 1, None)
    pigment = object()
    assert build_once("finish", TABLE, "paint", {"color": pigment}) == (pigment, 1, None)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        build("finish", TABLE, "pain", {})
    message = "unknown finish 'pain'; known: paint, varnish. Did you mean 'paint'?"
    assert str(caught.value) == message


def test_a_name_like_no_other_gets_no_guess():
    assert str(unknown("finish", "xyz", TABLE)) == "unknown finish 'xyz'; known: paint, varnish."


def test_a_name_where_there_is_nothing_to_choose_says_so():
    assert str(unknown("finish", "xyz", [])) == "unknown finish 'xyz'; known: none."


def test_an_unknown_option_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError) as caught:
        build("finish", TABLE, "paint", {"colour": "red"})
    message = (
        "unknown option of finish 'paint': 'colour'; known: color, context, size. "
        "Did you mean 'color'?"
    )
    assert str(caught.value) == message


def test_an_option_may_not_set_what_the_caller_supplies():
    with pytest.raises(ConfigError, match="unknown option of finish 'paint': 'context'") as caught:
        build("finish", TABLE, "paint", {"color": "red", "context": "floor"}, context="wall")
    assert "known: color, size." in str(caught.value)


def test_a_required_option_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"^finish 'paint' needs the option 'color'\.$"):
        build("finish", TABLE, "paint", {"size": 2})


def test_a_value_the_constructor_refuses_is_reported_with_the_name():
    with pytest.raises(ConfigError) as caught:
        build("finish", TABLE, "paint", {"color": "red", "size": 0})
    assert str(caught.value) == "finish 'paint': size must be positive, got 0."
    assert isinstance(caught.value.__cause__, ValueError)


def frame(
    width: float = 1.0,
    sides: int = 4,
    gilded: bool = False,
    wood: str = "oak",
    extras: Mapping[str, int] | None = None,
    corners: Sequence[float] = (),
):
    return width, sides, gilded, wood, extras, corners


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("width", "1.0", "a number"),
        ("width", True, "a number"),
        ("width", None, "a number"),
        ("sides", 4.5, "a whole number"),
        ("sides", True, "a whole number"),
        ("gilded", 1, "true or false"),
        ("gilded", "no", "true or false"),
        ("wood", 3, "a text"),
        ("corners", 0.5, "a list"),
        ("corners", "0.5", "a list"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_was_expected(key, value, expected):
    with pytest.raises(ConfigError) as caught:
        build("finish", {"frame": frame}, "frame", {key: value})
    assert str(caught.value) == f"finish 'frame': {key} must be {expected}, got {value!r}."


def test_a_whole_number_will_do_for_a_number_and_either_kind_of_list_for_a_list():
    options = {"width": 2, "sides": 3, "gilded": True, "corners": [1, 2]}
    assert build("finish", {"frame": frame}, "frame", options) == (2, 3, True, "oak", None, [1, 2])
    assert build("finish", {"frame": frame}, "frame", {"corners": (1,)})[-1] == (1,)


def test_a_config_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)


def test_a_section_builds_its_only_constructor():
    assert build_section(paint, "wall", {"color": "red"}, context="c") == ("red", 1, "c")


def test_an_unknown_key_of_a_section_names_the_section():
    with pytest.raises(ConfigError, match=r"unknown option of section 'wall': 'sise'.*mean 'size'"):
        build_section(paint, "wall", {"color": "red", "sise": 2})


def test_a_listed_choice_passes_and_another_is_refused_with_those_listed():
    choices = Literal["mean", "sum", "none"]
    check_choice("reduction", "sum", choices)
    with pytest.raises(ValueError, match=r"^reduction must be 'mean', 'sum' or 'none', got 'max'"):
        check_choice("reduction", "max", choices)


def test_an_import_path_builds_a_thing_outside_the_tables():
    dataset = build("data set", {}, "builders:toy_data", {"size": 9}, data_dir=None, seed=0)
    assert len(dataset.splits["train"]) == 9
    assert constructor("data set", {}, "builders:toy_data") is toy_data


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:thing", "cannot import 'no_such_module': ModuleNotFoundError"),
        ("builders:toy_dat", "unknown attribute of builders: 'toy_dat'.*mean 'toy_data'"),
        ("builders:NUM_CLASSES", "NUM_CLASSES must be callable, got int"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_named_with_the_reason(name, message):
    with pytest.raises(ConfigError, match=f"data set '{name}': {message}"):
        build("data set", TABLE, name, {})


def test_a_module_that_raises_while_it_is_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="cannot import 'broken_module': ZeroDivisionError"):
        constructor("method", TABLE, "broken_module:method")


def test_a_former_name_gets_the_present_one():
    message = "^method 'logit' was renamed: use 'kd'.$"
    with pytest.raises(ConfigError, match=message):
        build("method", {"kd": paint}, "logit", {})


def test_defaults_are_plain_data():
    assert defaults(frame) == {
        "width": 1.0,
        "sides": 4,
        "gilded": False,
        "wood": "oak",
        "extras": {},
        "corners": (),
    }
