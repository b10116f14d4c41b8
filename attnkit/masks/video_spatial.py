"""The own frame of a video, its neighbors, and the first frame."""

from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from attnkit.masks.chunked import Chunked
from attnkit.masks.contract import Composed, Mask
from attnkit.masks.sinks import Sinks
from attnkit.option_class import options


@options
class VideoSpatial(Composed):
    """A token sees its own frame, `near` frames before and after it, and the first frame.

    Three frames of two tokens:

    >>> from attnkit.masks.picture import picture
    >>> print(picture(VideoSpatial(frame=2), 6))
    # # . . . .
    # # . . . .
    # # # # . .
    # # # # . .
    # # . . # #
    # # . . # #

    `Chunked(size=frame, back=near, ahead=near) | Sinks(count=frame)`: the pattern of "spatial heads". That
    of "temporal heads" is `VideoTemporal`; `PerHead` gives each head its own. Which head is which, the paper
    decides at run time, by trying both on a few queries; here it is an option. The cover is exact where it
    says that a block is empty.

    Source: Xi et al. 2025 (Sparse VideoGen), arXiv 2502.01776.

    Attributes:
        frame: tokens of a frame.
        near: frames seen on each side of the own.
    """

    checked_with: ClassVar[dict[str, Any]] = {"frame": 7, "near": 1}
    frame: Annotated[int, Ge(1)] = 1024
    near: Annotated[int, Ge(0)] = 0

    def composition(self) -> Mask:
        return Chunked(size=self.frame, back=self.near, ahead=self.near) | Sinks(count=self.frame)
