"""The grammar of SCAN: commands in simple English and the actions they mean.

    C -> S and S | S after S | S
    S -> V twice | V thrice | V
    V -> D opposite, D around (the word stands before the direction) | D | U
    D -> U left | U right | turn left | turn right
    U -> walk | look | run | jump

Source: Lake and Baroni 2018, arXiv 1711.00350, supplementary: grammar and interpretation.
"""

from collections.abc import Iterator, Sequence

VERBS = {"walk": "WALK", "look": "LOOK", "run": "RUN", "jump": "JUMP"}
TURNS = {"left": "LTURN", "right": "RTURN"}
TIMES = {"twice": 2, "thrice": 3}
MANNERS: tuple[tuple[str, ...], ...] = ((), ("opposite",), ("around",))
JOINS = ("and", "after")

Action = tuple[str, int]


def commands() -> Iterator[tuple[str, ...]]:
    """Every command, as words, in a fixed order.

    >>> len(list(commands()))
    20910
    """
    phrases = [
        *((verb,) for verb in VERBS),
        *((verb, *manner, turn) for verb in (*VERBS, "turn") for manner in MANNERS for turn in TURNS),
    ]
    repeated = [(*phrase, *times) for phrase in phrases for times in ((), ("twice",), ("thrice",))]
    yield from repeated
    for first in repeated:
        for join in JOINS:
            for second in repeated:
                yield (*first, join, *second)


def actions(words: Sequence[str]) -> list[Action]:
    """Meaning of a command: actions, each with the place of the word that names it (verb or direction).

    >>> [action for action, _ in actions("jump around left after walk twice".split())]
    ['WALK', 'WALK', 'LTURN', 'JUMP', 'LTURN', 'JUMP', 'LTURN', 'JUMP', 'LTURN', 'JUMP']
    """
    for join in JOINS:
        if join in words:
            at = list(words).index(join)
            first, second = (sentence(words, 0, at), sentence(words, at + 1, len(words)))
            return first + second if join == "and" else second + first
    return sentence(words, 0, len(words))


def sentence(words: Sequence[str], start: int, stop: int) -> list[Action]:
    """The actions of `words[start:stop]`, a command without `and` or `after`."""
    times = TIMES.get(words[stop - 1], 1)
    if times > 1:
        stop -= 1
    did = [] if words[start] == "turn" else [(VERBS[words[start]], start)]
    if stop - start == 1:
        return did * times
    turn = [(TURNS[words[stop - 1]], stop - 1)]
    match words[start + 1]:
        case "around":
            return (turn + did) * 4 * times
        case "opposite":
            return (turn * 2 + did) * times
        case _:
            return (turn + did) * times
