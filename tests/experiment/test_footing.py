import pytest

from attnkit.errors import ConfigError
from attnkit.experiment import sweep
from attnkit.experiment.footprint import footprint
from attnkit.experiment.session import start

BASE = """\
[task]
kind = "copy"
letters = 3
longest = 3
lengths = []
held_out = 8

[model]
kind = "decoder"
depth = 1
heads = 2
model_dim = 24

[sweep]
equal = EQUAL

[sweep.groups.mixer]
attention = { model.mixer = { kind = "attention", mask = "causal" } }
gru = { model.mixer = "gru" }
wide = { model.mlp_ratio = 1, model.mixer = { kind = "attention", mask = "causal" } }
"""


@pytest.fixture
def sizes(tmp_path):
    """Widths and sizes of the cells, with something equal."""

    def of(equal):
        (tmp_path / "equal.toml").write_text(BASE.replace("EQUAL", equal))
        cells = sweep.load(tmp_path / "equal.toml").cells
        return [(cell.config.table()["model"]["model_dim"], footprint(start(cell.config))) for cell in cells]

    return of


def test_widths_give_all_cells_as_many_parameters_as_the_first(sizes):
    found = sizes('"parameters"')
    assert found[0][0] == 24 and all(width % 4 == 0 for width, _ in found) and found[2][0] > 24
    target = found[0][1].parameters
    for width, size in found[1:]:
        # The nearest multiple of twice the heads: a step of 4 changes a square of the width.
        assert abs(size.parameters - target) <= 0.6 * target * ((width + 4) ** 2 / width**2 - 1)


def test_widths_give_all_cells_as_much_state(sizes):
    found = sizes('{ what = "state", multiple_of = 1, by = "model.model_dim" }')
    states = [size.state_bytes for _, size in found]
    assert states[0] == states[2] and abs(states[1] - states[0]) <= 8


@pytest.mark.parametrize(
    ("equal", "message"),
    [
        ('{ what = "parameters", by = "model.width" }', "model.width: the config has no such option"),
        ('"flops"', "should be 'parameters' or 'state'"),
    ],
)
def test_what_cannot_be_equal_is_refused(sizes, equal, message):
    with pytest.raises(ConfigError, match=message):
        sizes(equal)
