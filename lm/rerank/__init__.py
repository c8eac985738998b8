"""Decisions from N-best lists with scores: weights chosen on dev, and a transcript for each list.

score_arrays      lists as arrays of scores and errors, for trying weights
tune              weights with the fewest word errors
cross_validation  what tuned weights give on lists that they were not tuned on
error_grid        word errors over a grid of weights, for pictures
pool              the lists of one or several systems, by utterance, with words as numbers
mbr               decision: the hypothesis with the fewest expected errors
confusion         decision: confusion networks, and a vote over them
slots             the compiled part of confusion networks
methods           the names of all decisions
decision          a transcript for every utterance, by any decision, and its settings tuned
confidence        how far to trust a word: calibration and its measures
"""
