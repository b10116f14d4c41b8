import jax
import jax.numpy as jnp
import pytest

import attnkit as ak
from attnkit.forms.flops import count_flops


def test_products_count_twice_their_multiplications():
    a, b, c = jnp.ones((3, 5)), jnp.ones((5, 7)), jnp.ones((2, 3, 5))
    assert count_flops(jnp.matmul, a, b) == 2 * 3 * 5 * 7
    assert count_flops(lambda c, b: jax.nn.relu(c @ b), c, b) == 2 * 2 * 3 * 5 * 7
    assert count_flops(jax.jit(lambda a, b: jnp.sin(a) @ b), a, b) == 210


def test_loops_count_as_often_as_they_run_and_branches_as_the_dearest():
    square = jnp.ones((4, 4))

    def repeated(x):
        return jax.lax.scan(lambda carry, _: (carry @ x, None), x, None, length=11)[0]

    assert count_flops(repeated, square) == 11 * 128
    assert (
        count_flops(lambda x: jax.lax.cond(x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y, x), square) == 256
    )


def test_a_convolution():
    x, kernel = jnp.ones((1, 13, 3)), jnp.ones((5, 3, 7))

    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    assert count_flops(convolve, x, kernel) == 2 * 13 * 7 * 3 * 5


@pytest.mark.parametrize(("block", "share"), [(None, 1.0), ((16, 16), 10 / 16)])
def test_attention_counts_the_blocks_that_its_mask_leaves(block, share):
    q = jnp.ones((2, 64, 8))
    variant = ak.Attention(mask=ak.Causal())
    form = "dense" if block is None else "blockwise"

    def attend(q):
        return ak.attend(q, q, q, variant, implementation=form, block=block).output

    # Of 4 x 4 blocks a causal mask leaves 10; a single block is computed whole.
    assert count_flops(attend, q) == share * (2 * 2 * 2 * 64 * 64 * 8)
