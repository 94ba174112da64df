"""Records written in order, in several files."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fdcmkd_jax.data import records


class Numbers(records.OrderedBuilder):
    """Numbers as they come, in two splits."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"number": tfds.features.Scalar(dtype=np.int32)})
        return tfds.core.DatasetInfo(
            builder=self,
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(columns=[1, 2]),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(23), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
        yield from ((number, {"number": 100 - number}) for number in range(count))


def test_examples_keep_their_order_over_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARD_SIZE", 7)
    monkeypatch.setattr(records, "CHUNK_SIZE", 3)
    folder = tmp_path / "numbers" / "1.0.0"
    records.write(lambda: Numbers(data_dir=tmp_path, file_format="array_record"), folder)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.splits["train"].shard_lengths == [7, 7, 7, 2]
    assert builder.info.metadata["columns"] == [1, 2]
    for split, count in (("train", 23), ("test", 4)):
        source = builder.as_data_source(split=split)
        assert [source[row]["number"] for row in range(len(source))] == [
            100 - number for number in range(count)
        ]


def test_records_that_another_process_wrote_meanwhile_are_kept(tmp_path):
    def fails():
        raise OSError("in the way")

    records.write(fails, tmp_path)
    with pytest.raises(OSError, match="in the way"):
        records.write(fails, tmp_path / "nowhere")
