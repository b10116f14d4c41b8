"""Pages of large models stay small, and say what they leave out."""

import numpy as np
import pytest
from page_reader import attention_map, read

from attnkit.inspection.circuits import Circuit
from attnkit.inspection.heads_page import Attribution, HeadFinding, HeadReport, Matrix
from attnkit.inspection.interventions import Edge
from attnkit.inspection.maps import Head
from attnkit.inspection.page import render
from attnkit.inspection.report import AttentionMap, MapExample, Report

pytestmark = pytest.mark.one_python


def test_the_page_of_a_large_model_is_small_and_says_what_was_pooled():
    """Everything that `attnkit inspect` draws of 512 tokens, 6 layers and 8 heads, with random numbers."""
    tokens = tuple(f"token{i % 89}" for i in range(512))
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(512, 0.05), size=(8, 512)).astype(np.float32)
    maps = tuple(AttentionMap(f"self, layer {layer}", weights, tokens, tokens) for layer in range(6))
    names = [f"L{layer}H{head}" for layer in range(6) for head in range(8)]
    found = tuple(HeadFinding(n, "previous 50%", 0.5, 0.4, 0.1, 1.0, (0.5, 1.5), "idle") for n in names)
    methods = ("weights", "gradient times input", "integrated gradients", "rollout", "attention x gradient")
    edges = {
        Edge(Head("decoder.0.self", n), Head("decoder.1.self", m), "k"): 1.0
        for n in range(8)
        for m in range(8)
    }
    heads = HeadReport(
        found,
        matrices=tuple(
            Matrix(title, names[::8], random.normal(size=(6, 8))) for title in ("effect", "evidence")
        ),
        attributions=(Attribution("l", tokens, tuple((name, random.normal(size=512)) for name in methods)),)
        * 3,
        circuits=(("Circuit", Circuit(edges, 0.5)),),
    )
    page = render(Report("large", heads=heads, attention=(MapExample("l", maps, (5, 7)),) * 3))
    assert len(page.encode()) <= 1_600_000
    assert "512 by 512 weights are drawn as" in page and "maps are left out" not in page
    assert page.count("integrated gradients") == 3 and "L5H7" in page


def test_more_heads_than_fit_are_left_out_and_said_so():
    maps = tuple(attention_map(tuple("ab"), heads=8, name=f"layer {i}") for i in range(67))
    reader = read(render(Report("deep", attention=(MapExample("l", maps, (66, 7)),))))
    assert any("3 of 67 maps are left out" in p for p in reader.texts["p"])
    assert "layer 66" in reader.texts["h3"]
