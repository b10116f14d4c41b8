"""What all ways of letting positions exchange information have in common: a name to choose them by."""


class Mixer:
    """Options of one way of mixing information between positions.

    Scored attention, recurrent attention, approximations and the recurrent and convolutional baselines
    are mixers. A model takes a mixer for each layer; `attnkit.layers.mixer_layer` owns its parameters.
    """
