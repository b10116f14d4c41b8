"""A reader of pages as a browser's parser sees them, hostile texts, and an attention map."""

import html.parser

import numpy as np

from attnkit.inspection.report import AttentionMap

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<!-- <script>alert(1)</script>",
    "</title></style></svg></details><b>",
    "]]></text><a href=javascript:alert(1)>",
    "a\u2028b\u2029c",
    "\"double\" 'single' &amp; &lt;",
    "\u202e\u05e9\u05dc العربية\u202c",
    "👩‍👩‍👧 é e\u0301",
    "{{7*7}} ${x} `y`",
    "https://example.com/x.png",
    "\x00\x1b[31m\r\udc80",
)
VOID = {"meta", "img", "br", "link", "input", "wbr"}


class Reader(html.parser.HTMLParser):
    """Elements, attributes and texts of a page, as a browser's parser sees them."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.open, self.unbalanced = [], [], {}, [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append((tag, []))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.unbalanced.append(tag)
            return
        _, parts = self.open.pop()
        self.texts.setdefault(tag, []).append("".join(parts))
        if self.open:
            self.open[-1][1].extend(parts)

    def handle_data(self, data):
        if self.open:
            self.open[-1][1].append(data)

    def handle_comment(self, data):
        raise AssertionError(f"comment {data!r}")


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.unbalanced == []
    assert reader.open == []
    return reader


def attention_map(tokens, keys=None, heads=2, name="cross", **more):
    keys = tokens if keys is None else keys
    weights = np.random.default_rng(0).dirichlet(np.ones(len(keys)), size=(heads, len(tokens)))
    return AttentionMap(name, weights, tuple(tokens), tuple(keys), **more)
