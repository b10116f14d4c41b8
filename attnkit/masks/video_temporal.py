"""The own place in every frame of a video, and the first frame."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.contract import Composed, Mask
from attnkit.masks.dilated import Dilated
from attnkit.masks.sinks import Sinks
from attnkit.option_class import options


@options
class VideoTemporal(Composed):
    """A token sees its own place in every frame, and the first frame.

    Three frames of two tokens:

    >>> from attnkit.masks.picture import picture
    >>> print(picture(VideoTemporal(frame=2), 6))
    # # # . # .
    # # . # . #
    # # # . # .
    # # . # . #
    # # # . # .
    # # . # . #

    `Dilated(step=frame) | Sinks(count=frame)`: the pattern of "temporal heads"; see `VideoSpatial`. Tokens
    are numbered frame by frame, so few blocks are empty; the paper numbers them place by place to skip more.
    The cover is exact where it says that a block is empty.

    Source: Xi et al. 2025 (Sparse VideoGen), arXiv 2502.01776.

    Attributes:
        frame: tokens of a frame.
    """

    checked_with: ClassVar[dict[str, Any]] = {"frame": 7}
    frame: Annotated[int, Ge(1)] = 1024

    def composition(self) -> Mask:
        return Dilated(step=self.frame) | Sinks(count=self.frame)
