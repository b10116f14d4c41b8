"""Forms of scored attention, one a file; the file's name is the name of the form.

A form has two functions:

    supports(variant, sizes, platform) -> reason or None     why it cannot compute the variant, or None
    run(variant, heads, sizes) -> (output, lse)               [heads, queries, value_dim], [heads, queries]

It may have more:

    block_mask_of(variant, sizes) -> BlockMask                which blocks it computes, for `explain`
    COMPILED_ON = {"gpu": 1, "tpu": 1}                        platforms on which `auto` prefers it to loops;
                                                              it takes the largest number first
    DISTRIBUTED = True                                        several devices share the sequence
"""
