"""How good the texts are.

edits         what can happen to a word, as numbers
alignment     which hypothesis word is aligned with which reference word
sclite        the alignment of NIST's sclite
marks         alternatives and optional words in references
lattice       texts with alternatives
lattice_path  sclite's alignment of texts with alternatives
wer           word and character errors, and the oracle of N-best lists
permutation   the exact p-value of paired differences
significance  whether a difference in error rate is more than chance
"""
