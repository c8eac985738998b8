"""The compiled parts of the beam search; `asr.beam` puts them together.

graph       what a search needs to know: labels, lexicon, n-gram models, hot words, as arrays
hotwords    favoured words and phrases as an automaton
prefixes    the prefixes that a search has met, as a tree
state       the beam and all else that a search changes
frames      one frame after the other: prefixes stay in the beam or grow by a label
labels      the labels of a frame that are followed
extension   one more label for a prefix: its scores, and the new prefix
candidates  the best candidates for the next beam
endings     what has been found: texts with their scores and word times
"""
