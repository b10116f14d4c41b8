"""PyTorch's and flash-linear-attention's kernels on a GPU: a case comes in as JSON, its seconds go out."""

import functools
import importlib
import json
import sys
import time

import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

#: module and function of flash-linear-attention, and its arguments
RECURRENCES = {
    "simple_gla": ("fla.ops.simple_gla", "chunk_simple_gla", "qkvg"),
    "gla": ("fla.ops.gla", "chunk_gla", "qkvG"),
    "delta_net": ("fla.ops.delta_rule", "chunk_delta_rule", "qkvb"),
}
WINDOW = 255


def causal(b, h, i, j):
    return i >= j


def window(b, h, i, j):
    return (i >= j) & (i - j <= WINDOW)


def draw(*size):
    return torch.randn(size, device="cuda", dtype=torch.bfloat16)


def flex(name, heads, tokens):
    mask = create_block_mask(window if name == "window" else causal, 1, None, tokens, tokens, device="cuda")
    slopes = torch.tensor([2.0 ** (-8 * (n + 1) / heads) for n in range(heads)], device="cuda")

    def alibi(score, b, h, i, j):
        return score - slopes[h] * (i - j)

    more = {"score_mod": alibi} if name == "alibi" else {}
    return functools.partial(torch.compile(flex_attention), block_mask=mask, **more)


def attention(program, name, heads, tokens, dim):
    given = [draw(1, heads, tokens, dim) for _ in range(3)]
    if program == "flex":
        return flex(name, heads, tokens), given
    if name != "causal":
        raise ValueError(f"{name} is not what this kernel computes")
    return functools.partial(functional.scaled_dot_product_attention, is_causal=True), given


def recurrence(name, heads, tokens, dim):
    module, function, letters = RECURRENCES[name]
    run = getattr(importlib.import_module(module), function)
    sides = {letter: draw(1, tokens, heads, dim) for letter in "qkvG"}
    sides["k"] = functional.normalize(sides["k"].float(), dim=-1).to(torch.bfloat16)
    sides["G"] = functional.logsigmoid(sides["G"].float())
    sides["g"] = functional.logsigmoid(draw(1, tokens, heads).float())
    sides["b"] = torch.sigmoid(draw(1, tokens, heads))
    return (lambda *given: run(*given)[0]), [sides[letter] for letter in letters]


@functools.cache
def prepared(program, name, tokens, gradient, heads, dim):
    if program == "fla":
        run, given = recurrence(name, heads, tokens, dim)
    else:
        run, given = attention(program, name, heads, tokens, dim)
    given = [a.detach().requires_grad_(gradient) for a in given]

    def once():
        if gradient:
            (run(*given).float() ** 2).sum().backward()
        else:
            with torch.no_grad():
                run(*given)
        torch.cuda.synchronize()

    once()
    return once


def main():
    sizes = json.loads(sys.argv[1])
    for line in sys.stdin:
        try:
            once = prepared(**json.loads(line), heads=sizes["heads"], dim=sizes["dim"])
            begun = time.perf_counter()
            once()
            found = {"seconds": time.perf_counter() - begun}
        except Exception as error:  # libraries raise errors of any type
            found = {"error": " ".join(str(error).split())[:200] or type(error).__name__}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
