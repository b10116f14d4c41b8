"""Pages as a browser's parser sees them."""

import html.parser

VOID = {"meta", "img", "br", "link", "input"}


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
