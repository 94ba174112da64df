"""The command for data sets."""

import pytest

from fdcmkd_jax.data import __main__ as command


def run(capsys, *arguments, expect=0):
    """Runs the command; returns its output, or its one line of error."""
    assert command.main([str(argument) for argument in arguments], prog="data") == expect
    captured = capsys.readouterr()
    if not expect:
        return captured.out
    assert len(captured.err.splitlines()) == 1
    return captured.err


@pytest.fixture(autouse=True)
def _same_path(monkeypatch):
    monkeypatch.syspath_prepend(".")


def test_the_list_has_a_line_for_each_data_set(capsys):
    assert "av_digits       Loads AV-digits-20" in run(capsys, "list")


def test_a_data_set_is_described_with_splits_shapes_and_classes(capsys, digits_dir):
    text = run(capsys, "describe", "av_digits", "--data_dir", digits_dir)
    assert "train          200 examples\n" in text
    assert "audio   float32 [32, 13, 1]" in text
    assert "10 classes, with their examples:\n        train     val    test\n" in text
    assert "    9      20      50     100\n" in text


def test_preparing_writes_the_records_with_the_options(capsys, tmp_path):
    command_line = ("prepare", "av_digits", "--data_dir", tmp_path, "--option", "pairs_per_class=1")
    assert "prepared: 10 train, 500 val, 1,000 test" in run(capsys, *command_line)
    assert (tmp_path / "av_digits" / "seed0_pairs1").is_dir()


def test_a_data_set_of_ones_own_is_named_by_its_import_path(capsys, tmp_path):
    text = run(capsys, "describe", "builders:toy_data", "--data_dir", tmp_path)
    assert "image   float32 [8, 8, 2]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("describe", "av_digit"), "unknown data set 'av_digit'; known: av_digits, ave"),
        (("describe", "av_digits", "--option", "pairs"), "an option is KEY=VALUE, got 'pairs'"),
        (("describe", "av_digits", "--option", "pairs=3"), "unknown option of data set"),
        (("prepare", "nowhere:data"), "cannot import 'nowhere'"),
    ],
    ids=str,
)
def test_a_mistake_is_answered_by_one_line(capsys, arguments, message):
    assert message in run(capsys, *arguments, expect=2)
