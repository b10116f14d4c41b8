"""How to turn a model's predictions into text: the options of decoding."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from attnkit.option_class import options


@options
class Decoding:
    """Greedy search, sampling or beam search.

    Attributes:
        method: `greedy` writes the most probable token each time, `sample` draws one, `beam` keeps the
            `beams` most probable beginnings and writes the best complete text among them.
        max_length: most tokens to write, the end token included.
        temperature: logits are divided by it before a token is drawn (`sample`). A sample depends on the seed
            and the text alone, not on what else is written at the same time.
        top_k: draw from the `top_k` most probable tokens only; 0 for all (`sample`).
        top_p: draw from the smallest set of most probable tokens that holds this much probability,
            after `top_k` (`sample`).
        beams: beginnings kept (`beam`); 1 is greedy search.
        length_penalty: complete texts are compared by log-probability / length ** `length_penalty`, the
            end token counted (`beam`); 0 compares probabilities.
        scored: examples of each held-out split that are decoded and scored after training.
    """

    method: Literal["greedy", "sample", "beam"] = "greedy"
    max_length: Annotated[int, Ge(1)] = 128
    temperature: Annotated[float, Gt(0.0)] = 1.0
    top_k: Annotated[int, Ge(0)] = 0
    top_p: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    beams: Annotated[int, Ge(1)] = 4
    length_penalty: Annotated[float, Ge(0.0)] = 1.0
    scored: Annotated[int, Ge(1)] = 500
