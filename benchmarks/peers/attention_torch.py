"""PyTorch attention on the CPU, run when told: `case repeats` comes in, seconds go out."""

import json
import sys
import time

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

WINDOW = 256


def alibi(heads):
    slopes = torch.tensor([2.0 ** (-8 * (n + 1) / heads) for n in range(heads)])
    return lambda score, b, h, i, j: score - slopes[h] * (i - j)


def causal(b, h, i, j):
    return i >= j


def window(b, h, i, j):
    return (i - j).abs() < WINDOW


def main():
    shape = json.loads(sys.argv[1])
    size = (1, shape["heads"], shape["length"], shape["dim"])
    q, k, v = (torch.randn(size) for _ in range(3))
    length = shape["length"]
    masks = {
        name: create_block_mask(mask, 1, None, length, length, device="cpu")
        for name, mask in (("causal", causal), ("window", window))
    }
    flex = torch.compile(flex_attention)
    score = alibi(shape["heads"])
    cases = {
        "flex full": lambda: flex(q, k, v),
        "flex causal": lambda: flex(q, k, v, block_mask=masks["causal"]),
        "flex alibi": lambda: flex(q, k, v, score_mod=score, block_mask=masks["causal"]),
        "flex window": lambda: flex(q, k, v, block_mask=masks["window"]),
        "sdpa full": lambda: scaled_dot_product_attention(q, k, v),
        "sdpa causal": lambda: scaled_dot_product_attention(q, k, v, is_causal=True),
    }

    def gradient():
        given = [a.detach().requires_grad_() for a in (q, k, v)]
        (scaled_dot_product_attention(*given, is_causal=True) ** 2).sum().backward()

    for line in sys.stdin:
        name, repeats = line.rsplit(" ", 1)
        begun = time.perf_counter()
        for _ in range(int(repeats)):
            if name == "sdpa causal gradient":
                gradient()
            else:
                with torch.no_grad():
                    cases[name]()
        print((time.perf_counter() - begun) / int(repeats), flush=True)


if __name__ == "__main__":
    main()
