"""A small tokenizer of BERT's kind, and texts of every kind."""

import random
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_tokenizer(path: Path, texts: list[str], *, padding_id: int = 0) -> Path:
    """Writes a tokenizer of whole words, with a truncation and padding that nobody asked for."""
    words = sorted({word for text in texts for word in text.lower().split()})
    names = [*SPECIAL, *words]
    vocabulary = {name: (number + padding_id) % len(names) for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = (("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.post_processor = processors.BertProcessing(*ends)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path


def strange_texts(count: int) -> list[str]:
    """Texts of many scripts, signs and lengths, the same each time."""
    draw = random.Random(0)
    words = ["fire", "RT", "@user", "https://t.co/x1Y2", "don't", "#Harvey", "can\u2019t", "1,000"]
    words += ["na\u00efve", "\u00fcber", "\u5730\u9707", "\u0938\u0939\u093e\u092f\u0924\u093e"]
    words += ["\U0001f525", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u202eabc", "\ufeff"]
    words += ["unbelievability", "[SEP]", "[MASK]", '"', "&amp;", "e\u0301", "\ufb01re", "\t", ""]
    scripts = [(33, 126), (0xA0, 0x24F), (0x370, 0x52F), (0x5D0, 0x6FF), (0x4E00, 0x4FFF)]
    texts = ["", " ", "a" * 300, "fire " * 400]
    while len(texts) < count:
        parts = []
        for _ in range(draw.choice([1, 5, 20, 20, 20, 150])):
            if draw.random() < 0.5:
                parts.append(draw.choice(words))
            else:
                low, high = draw.choice(scripts)
                letters = (chr(draw.randint(low, high)) for _ in range(draw.randint(1, 9)))
                parts.append("".join(letters))
        texts.append(" ".join(parts))
    return texts
