"""Lists of CrisisMMD with made-up tweets, in the format of the real ones."""

from pathlib import Path

from fdcmkd_jax.data.crisis_mmd.lists import SPLITS, Choice

HEADER = (
    "event_name tweet_id image_id tweet_text image label label_text label_image label_text_image"
)
AGREED = "crisismmd_datasplit_agreed_label"
ALL = "crisismmd_datasplit_all"


def row(number, label, *, text="a storm", text_label=None, image_label=None, tweet=None, **changes):
    """The nine fields of a row."""
    tweet = tweet or str(917_793_137_925_459_968 + number)
    name = f"{tweet}_{number % 3}"
    fields = {
        "event_name": "california_wildfires",
        "tweet_id": tweet,
        "image_id": name,
        "tweet_text": text,
        "image": f"data_image/california_wildfires/10_10_2017/{name}.jpg",
        "label": label,
        "label_text": text_label or label,
        "label_image": image_label or label,
        "label_text_image": "Positive",
    }
    return [*(fields | changes).values()]


def write_lists(folder: Path, choice: Choice, splits, header=HEADER):
    """Writes the lists of a choice and an empty folder of pictures."""
    (folder / "data_image").mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        path = folder / (AGREED if choice.lists == "agreed" else ALL) / choice.file_name(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(header.split()), *("\t".join(each) for each in splits.get(split, []))]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
