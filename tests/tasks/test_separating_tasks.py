"""State tracking, flip-flops, brackets, needles and stars: answers found again by reading the text slowly."""

import itertools
import re

import numpy as np
import pytest
from tasks.single_tokens import best_single_token

from attnkit.errors import ConfigError
from attnkit.tasks.counter_language import CounterLanguage
from attnkit.tasks.dyck import Dyck
from attnkit.tasks.flip_flop import FlipFlop
from attnkit.tasks.mano import Mano
from attnkit.tasks.memorization import Memorization
from attnkit.tasks.motif_recall import MotifRecall
from attnkit.tasks.needle import Needle
from attnkit.tasks.permutation_hops import PermutationHops
from attnkit.tasks.regular_languages import RegularLanguages
from attnkit.tasks.star_graph import StarGraph
from attnkit.tasks.state_tracking import StateTracking, group_table
from attnkit.tasks.stream import Stream


def spelled(data, split, count=64):
    """(words read, {place: answer}, evidence of the last answer) of some examples; place 0 is `BEGIN`."""
    tokens = data.vocabulary.tokens
    batch = data._split(split)
    for row, example in enumerate(data.examples(split, count)):
        read = [tokens[token] for token in batch["inputs"][row]]
        asked = np.flatnonzero(batch["weights"][row])
        answers = {int(place): tokens[batch["labels"][row, place]] for place in asked}
        yield read, answers, np.flatnonzero(example.evidence[-1]).tolist()


@pytest.mark.parametrize(("group", "size"), [("s3", 6), ("a5", 60), ("s5", 120), ("z2", 2), ("z60", 60)])
def test_a_table_is_that_of_a_group(group, size):
    names, products = group_table(group)
    assert len(names) == len(set(names)) == size
    assert all(sorted(row) == list(range(size)) for row in products.tolist())  # a Latin square
    some = np.random.default_rng(0).integers(size, size=(3, 200))
    a, b, c = some
    assert (products[products[a, b], c] == products[a, products[b, c]]).all()
    commutes = (products == products.T).all()
    assert commutes == (group[0] == "z")
    if group == "a5":  # its elements have orders 1, 2, 3 and 5: 1, 15, 20 and 24 of them
        powers, orders, one = np.arange(60), np.ones(60, int), names.index("12345")
        while (powers != one).any():
            orders += powers != one
            powers = np.where(powers != one, products[powers, np.arange(60)], powers)
        assert np.bincount(orders).tolist() == [0, 1, 15, 20, 0, 24]


@pytest.mark.parametrize("group", ["s3", "z2", "z60"])
def test_a_state_is_the_product_of_the_word(group):
    data = StateTracking(group=group, length=7, lengths=(11,), held_out=64).load()
    for split, length in (("valid", 7), ("length11", 11)):
        for read, answers, evidence in spelled(data, split):
            assert len(read) == 1 + length and list(answers) == list(range(1, 1 + length))
            assert evidence == list(range(1, 1 + length))
            if group[0] == "z":
                order = int(group[1:])
                assert all(int(a) == sum(map(int, read[1 : p + 1])) % order for p, a in answers.items())
                continue
            for place, answer in answers.items():
                images = [1, 2, 3]
                for element in reversed(read[1 : place + 1]):  # the last one acts first
                    images = [int(element[n - 1]) for n in images]
                assert answer == "".join(map(str, images))


def test_a_value_is_that_of_the_expression():
    """Read from the back with a stack, as a calculator in Polish notation does."""
    data = Mano(operations=5, modulus=7, held_out=256).load()
    sizes, first = [], []
    for split in ("valid", "longest"):
        for read, answers, evidence in spelled(data, split, 256):
            while read[-1] not in (f"={n}" for n in range(1, 6)):
                read.pop()
            size, stack = int(read[1][1:]), []
            assert (read[1], read[-1]) == (f"#{size}", f"={size}") and len(read) == 2 * size + 4
            for word in reversed(read[2:-1]):
                if word in "+-*":
                    a, b = stack.pop(), stack.pop()
                    word = {"+": a + b, "-": a - b, "*": a * b}[word]
                stack.append(int(word))
            assert answers == {len(read) - 1: str(stack.pop() % 7)} and not stack
            assert evidence == list(range(2, len(read) - 1))
            sizes.append(size)
            if split == "longest":
                depth, end = 1, 3  # where the left part of the first operation ends
                while depth:
                    depth += 1 if read[end] in "+-*" else -1
                    end += 1
                first.append((end - 4) // 2)
    assert np.bincount(sizes[256:]).tolist() == [0] * 5 + [256]
    for counts in (np.bincount(sizes[:256], minlength=6)[1:], np.bincount(first, minlength=5)):
        assert abs(counts - 256 / 5).max() < 4 * (256 * 0.2 * 0.8) ** 0.5


def test_the_bit_that_was_written_last():
    data = FlipFlop(length=40, held_out=128).load()
    ignored = {}
    for split in ("valid", "sparse", "dense"):
        kinds = []
        for read, answers, evidence in spelled(data, split, 128):
            assert len(read) == 40 and read[1] == "w" and read[-1] == "r" and max(answers) == 39
            last = None
            for place in range(1, 40, 2):
                kinds.append(read[place])
                assert (read[place] == "r") == (place in answers)
                if read[place] == "w":
                    last = place + 1
                elif read[place] == "r":
                    assert answers[place] == read[last]
                    assert place == 39 or read[place + 1] == read[last]
            assert evidence == [last]
        ignored[split] = kinds.count("i") / len(kinds)
    expected = {"valid": 0.8 * 18 / 20, "sparse": 0.98 * 18 / 20, "dense": 0.1 * 18 / 20}
    assert all(abs(ignored[split] - share) < 0.03 for split, share in expected.items())


def test_a_closing_bracket_is_of_the_kind_that_was_opened():
    data = Dyck(kinds=3, depth=4, length=24, lengths=(40,), held_out=64).load()
    deepest = 0
    for split, length in (("valid", 24), ("length40", 40)):
        for read, answers, evidence in spelled(data, split):
            assert len(read) == 1 + length and max(answers) == length
            open_ = []
            for place, word in enumerate(read[1:], 1):
                assert (word == "?") == (place in answers)
                if word == "?":
                    last = open_.pop()
                    assert answers[place] == read[last][1] + ")"
                else:
                    open_.append(place)
                    deepest = max(deepest, len(open_))
            assert evidence == [last]
    assert deepest == 4


@pytest.mark.parametrize("hops", [1, 3])
def test_a_variable_has_the_value_at_the_beginning_of_its_chain(hops):
    task = Needle(chains=3, hops=hops, length=60, lengths=(90,), variables=16, values=8, held_out=64)
    data = task.load()
    asked = []
    for split, length in (("valid", 60), ("length90", 90)):
        for read, answers, evidence in spelled(data, split):
            assert len(read) == 1 + length and list(answers) == [length] and read[-1] == "?"
            places = [place for place, word in enumerate(read) if word == "="]
            set_to = {read[place - 1]: (read[place + 1], place + 1) for place in places}
            assert len(set_to) == len(places) == 3 * hops
            known = set()
            for name, (given, _) in set_to.items():  # nothing is used before it is set
                assert given[0] == "v" or given in known
                known.add(name)
            name, looked = read[-2], []
            while name[0] == "x":
                name, place = set_to[name]
                looked.append(place)
            assert len(looked) == hops and answers[length] == name and evidence == sorted(looked)
            asked.append(sorted(set_to, key=lambda n: set_to[n][1]).index(read[-2]))
    assert np.bincount(asked, minlength=3 * hops)[-1] > 10  # not always the first


def test_a_path_leads_from_the_center_to_the_end():
    data = StarGraph(arms=3, steps=4, nodes=20, held_out=64).load()
    firsts = []
    for example in data.examples("valid", 64):
        *edges, start, goal, equals = example.prompt.split()
        assert equals == "=" and edges[1::3] == [">"] * 12
        after = {}
        for a, b in zip(edges[::3], edges[2::3], strict=True):
            after.setdefault(a, []).append(b)
        assert sorted(map(len, after.values())) == [1] * 9 + [3]
        path = example.answer.split()
        assert path[0] == start and path[-1] == goal and len(path) == 5
        assert all(b in after[a] for a, b in itertools.pairwise(path))
        firsts.append(after[start].index(path[1]))
        words = ["<begin>", *example.prompt.split()]
        looked = [[words[n] for n in np.flatnonzero(row)] for row in example.evidence]
        assert looked[0] == [start] and sorted(looked[1]) == sorted(path[1:])
        assert looked[2:] == [[node] for node in path[2:]] + [[]]
    assert np.bincount(firsts).min() > 10


@pytest.mark.parametrize(("key_size", "value_size", "noise"), [(1, 1, 0.0), (2, 3, 0.3)])
def test_a_motif_has_the_value_that_it_had_before(key_size, value_size, noise):
    sizes = {"tokens": 4, "pairs": 3, "key_size": key_size, "value_size": value_size, "noise": noise}
    data = MotifRecall(**sizes, length=40, lengths=(60,), held_out=64).load()
    longest, noisy, short = [0, 0], 0, 0
    for split in ("valid", "length60"):
        batch = data._split(split)
        for row, example in enumerate(data.examples(split, 64)):
            read = [data.vocabulary.tokens[token] for token in batch["inputs"][row] if token][1:]
            read += example.answer.split()[-1:]  # the last token is not read
            asked = {
                place: data.vocabulary.tokens[batch["labels"][row, place]]
                for place in np.flatnonzero(batch["weights"][row])
            }
            runs = [(kind, list(run)) for kind, run in itertools.groupby(enumerate(read), lambda t: t[1][0])]
            values, expected, key, looked = {}, {}, (), []
            for kind, run in runs:
                words = tuple(word for _, word in run)
                noisy += kind == "n"
                if kind == "k":
                    key = words
                elif kind == "v":
                    if key in values:
                        assert values[key][0] == words
                        # Place 0 is `BEGIN`: what is the n-th token is to be predicted at place n.
                        expected |= dict(run)
                        looked = values[key][1]
                    places = [place for place, _ in run]
                    values[key] = (words, [*values.get(key, ((), []))[1], places])
                    longest = [max(longest[0], len(key)), max(longest[1], len(words))]
                    short += len(key) == 1
            assert asked == expected and len(read) <= data.lengths[split]
            assert example.answer == " ".join(words) and runs[-2][0] == "k"
            found = [np.flatnonzero(line).tolist() for line in example.evidence]
            assert found == [[1 + places[n] for places in looked] for n in range(len(words))]
    assert longest == [key_size, value_size] and short and bool(noisy) == bool(noise)


def test_a_key_has_the_same_value_in_all_sequences():
    data = Memorization(keys=7, length=12, held_out=64).load()
    values = {}
    for read, answers, evidence in spelled(data, "valid"):
        assert read[2::2] == ["?"] * 6 and list(answers) == [2, 4, 6, 8, 10, 12] and evidence == [11]
        for place, answer in answers.items():
            assert values.setdefault(read[place - 1], answer) == answer
    assert sorted(values) == [f"k{n}" for n in range(7)] and sorted(values.values()) == [
        f"v{n}" for n in range(7)
    ]
    other = Memorization(keys=7, length=12, dictionary_seed=1).load()
    assert (other.dictionary != data.dictionary).any()


@pytest.mark.parametrize("letters", [2, 3])
def test_blocks_of_a_word_are_equally_long(letters):
    data = CounterLanguage(letters=letters, longest=3, longer=(5,), length=20, held_out=64).load()
    for split, sizes in (("valid", {1, 2, 3}), ("longest5", {1, 2, 3, 4, 5})):
        seen = set()
        for read, answers, evidence in spelled(data, split):
            text = "".join(read[1:]) + answers.get(len(read) - 1, "")
            place, known = 0, {}
            for word in re.finditer("a+b+c*" if letters == 3 else "a+b+", text):
                assert word.start() == place
                place = word.end()
                size = word[0].count("a")
                if place < len(text):  # a whole word
                    assert word[0] == "".join(letter * size for letter in "abc"[:letters])
                    seen.add(size)
                if word.start():
                    known[word.start()] = "a"
                known |= {n: text[n] for n in range(word.start() + size + 1, place)}
            rest = text[place:]
            assert set(rest) <= {"a"}
            if rest:
                known[place] = "a"
            assert answers == known
            *_, first = re.finditer("a+", text[: max(answers)])
            assert evidence == list(range(first.start() + 1, first.end() + 1))
        assert seen == sizes


def test_an_answer_is_as_many_hops_away_as_asked():
    data = PermutationHops(nodes=6, names=9, hops=3, questions=4, held_out=64).load()
    for split in ("valid", "hops1", "hops3"):
        asked_hops = set()
        for read, answers, evidence in spelled(data, split):
            after = dict(zip(read[1:13:2], read[2:13:2], strict=True))
            assert sorted(after) == sorted(after.values()) and len(after) == 6
            assert list(answers) == [14, 17, 20, 23] and len(read) == 24
            for place, answer in answers.items():
                hops, node, way = int(read[place - 1]), read[place], []
                for _ in range(hops):
                    way.append(2 + 2 * read[1:13:2].index(node))
                    node = after[node]
                assert answer == node and (place == 23 or read[place + 1] == node)
                asked_hops.add(hops)
            assert evidence == sorted(way)
        assert asked_hops == ({1, 2, 3} if split == "valid" else {int(split[-1])})


def test_an_automaton_permits_what_is_read_and_asks_for_what_is_certain():
    task = RegularLanguages(states=4, edges=3, symbols=5, stop=0.2, length=40, lengths=(), held_out=64)
    data, count = task.load(), 64
    batch, stream = data.draw(Stream(7), count, "valid"), Stream(7)
    edges = 1 + stream.below(3, count, 4)
    symbols = stream.orders(count * 4, 5)[:, :3].reshape(count, 4, 3)
    targets = stream.below(4, count, 4, 3)
    total = 0
    for row in range(count):
        graph = [
            {"abcde"[symbols[row, n, e]]: int(targets[row, n, e]) for e in range(edges[row, n] if n else 1)}
            for n in range(4)
        ]
        state, left, ended = 0, set(), True
        for place in range(1, 40):
            word = data.vocabulary.tokens[batch["inputs"][row, place]]
            asked = int(batch["labels"][row, place - 1])
            if word == "|":
                assert not ended and not asked
                state, ended = 0, True
                continue
            assert bool(asked) == (state in left and len(graph[state]) == 1)
            if asked:
                assert data.vocabulary.tokens[asked] == word and [word] == list(graph[state])
                total += 1
            left.add(state)
            state, ended = graph[state][word], False
    assert total > 5 * count


@pytest.mark.parametrize(
    "task",
    [
        StateTracking(length=8, lengths=()),
        FlipFlop(length=32, ignore=0.9),
        Dyck(kinds=3, length=16, lengths=()),
        Needle(chains=4, hops=2, length=40, lengths=(), values=8),
        PermutationHops(nodes=6, names=9, hops=3, questions=2),
    ],
    ids=lambda task: type(task).__name__,
)
def test_no_single_token_gives_the_last_answer_away(task):
    """Of a fixed place. The bit of a flip-flop is often the last one, and the last bracket often closes."""
    data = task.load()
    tables = []
    for split in (1, 2):
        batch = data.draw(Stream(9, split), 4096, "valid")
        tables += [batch["inputs"], batch["labels"][:, -1]]
    slack = {"FlipFlop": 0.35, "Dyck": 0.4, "Needle": 0.1}.get(type(task).__name__, 0.05)
    assert best_single_token(*tables) < data.floors["exact_match"] + slack


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (FlipFlop(length=7), "length = 7: expected an even number"),
        (Dyck(lengths=(9,)), "length = 9: expected an even number"),
        (Needle(chains=9, hops=9), "variables = 64: expected at least 81"),
        (Needle(length=10), "length = 10: expected at least 14"),
        (StarGraph(nodes=20), "nodes = 20: expected at least 26 for 5 arms"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(task, message):
    with pytest.raises(ConfigError, match=message):
        task.load()
