"""What a single token of the input gives away about the answer."""

import numpy as np


def best_single_token(known, known_answers, asked, asked_answers):
    """The best share of right answers when each is guessed from the token at one place.

    For every place, the guess is the answer that was most frequent with the token there among `known`.

    Args:
        known: `[rows, width]` token ids to learn the guesses from, with `known_answers [rows]`.
        asked: `[others, width]` token ids to guess for, with `asked_answers [others]`.
    """
    best = 0.0
    size = int(max(known_answers.max(), asked_answers.max())) + 1
    tokens = int(max(known.max(), asked.max())) + 1
    for place in range(min(known.shape[1], asked.shape[1])):
        table = np.zeros((tokens, size))
        np.add.at(table, (known[:, place], known_answers), 1)
        best = max(best, float(np.mean(table.argmax(axis=1)[asked[:, place]] == asked_answers)))
    return best
