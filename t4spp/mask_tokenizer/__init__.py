"""A learned code of masks: a picture of a mask to a few whole numbers, and back.

Here is what reading and writing codes needs, in numpy alone; ``t4spp.tokenizer_training`` trains.
"""
