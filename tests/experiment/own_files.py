"""Small files of a user's own, and configs that train on them in seconds."""

import numpy as np

OWN = """\
from annotated_types import Ge
from typing import Annotated

from attnkit.option_class import options
from attnkit.scored.contract import Position
from helper import sign


@options
class Mine(Position):
    size: Annotated[int, Ge(1)] = 3

    def bias(self, p, q, k, i, j):
        return sign() * abs(i[:, None] - j[None, :]) / self.size
"""
TRAINING = """
[training]
steps = 3
batch_size = 5
steps_per_dispatch = 1

[optimizer]
warmup = 1

[decoding]
max_length = 5
scored = 16
"""
ENCODER_DECODER = """
[model]
kind = "encoder_decoder"
encoder_depth = 1
decoder_depth = 1
model_dim = 12
heads = 2
"""
KINDS = {
    "pairs": ('[task]\nkind = "parallel_text"\npath = "pairs.tsv"\nvalid_fraction = 0.2\n', ENCODER_DECODER),
    "classes": (
        '[task]\nkind = "labeled_text"\npath = "labels.tsv"\nunits = "subwords"\nmax_vocabulary = 60\n'
        "valid_fraction = 0.2\n",
        '[model]\nkind = "classifier"\ndepth = 1\nmodel_dim = 12\nheads = 2\n',
    ),
    "pictures": (
        '[task]\nkind = "captioned_images"\npath = "captions.tsv"\nsize = 8\nvalid_fraction = 0.2\n',
        ENCODER_DECODER,
    ),
    "own": (
        '[task]\nkind = "text"\npath = "text.txt"\nlength = 11\n',
        '[model]\nkind = "decoder"\ndepth = 1\nmodel_dim = 12\nheads = 2\n'
        '[model.mixer]\nkind = "attention"\nposition = [{ kind = "mine.py:Mine" }]\n',
    ),
}
COLORS = {"red": "rot", "blue": "blau", "green": "grau", "two": "zwei", "six": "sechs", "ten": "zehn"}


def data(place):
    from PIL import Image

    words = list(COLORS)
    pairs = [(one, other) for one in words for other in words]
    (place / "pairs.tsv").write_text("".join(f"{a} {b}\t{COLORS[a]} {COLORS[b]}\n" for a, b in pairs))
    (place / "labels.tsv").write_text(
        "".join(f"{'good' if a < b else 'bad'}\tfine {a} day {b}\n" for a, b in pairs)
    )
    (place / "text.txt").write_text("the day was a fine day\n" * 20)
    lines = []
    for number, (a, b) in enumerate(pairs[:24]):
        shade = np.full((8, 8, 3), 10 * number, np.uint8)
        Image.fromarray(shade).save(place / f"{number}.png")
        lines.append(f"{number}.png\t{a} {b}\n")
    (place / "captions.tsv").write_text("".join(lines))
    (place / "mine.py").write_text(OWN)
    (place / "helper.py").write_text("def sign():\n    import math\n    return -math.sqrt(4)\n")
