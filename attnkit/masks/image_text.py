"""Cross-attention from text to the last picture before it."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.contract import Data, Mask, Needs
from attnkit.option_class import options


@options
class ImageText(Mask):
    """Cross-attention from text to pictures: a query sees the tokens of the last picture before it.

    Three words, of which one comes before any picture, one after the first and one after the second:

    >>> from attnkit.masks.contract import Data
    >>> from attnkit.masks.picture import picture
    >>> print(picture(ImageText(tokens=2), 3, 6, Data(query={"image": [0, 1, 2]})))
    . . . . . .
    # # . . . .
    . . # # . .

    Keys are the pictures of the sequence one after the other, `tokens` for each. `data.query["image"]` says
    for every query how many pictures came before it, so the query sees picture number `image - 1`, and
    nothing if there is none: `np.cumsum(is_picture)` of the text with its picture marks. The cover claims
    nothing.

    Source: Alayrac et al. 2022 (Flamingo), arXiv 2204.14198, section 2.3.

    Attributes:
        tokens: keys that a picture gives.
    """

    checked_with: ClassVar[dict[str, Any]] = {"tokens": 5}
    tokens: Annotated[int, Ge(1)] = 64

    def allows(self, i: Any, j: Any, data: Data) -> Any:
        return (j // self.tokens == data.query["image"] - 1) & (j >= 0)

    def needs(self) -> Needs:
        return Needs(query=frozenset({"image"}))
