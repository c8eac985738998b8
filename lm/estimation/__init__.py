"""n-gram models, made: from text to counts to probabilities; `lm.ngram` stores and queries them.

counted_text     words read from files, as numbers
counts           n-grams with their counts, and what Kneser-Ney makes of these
external_sort    sorting and storing of more rows than memory holds
radix            sorting of rows in memory
smoothing        the formulas: discounts and interpolation of one order
kneser_ney       estimates a model, one order after the other
backoff_tables   several models in common tables that can be computed with
mixture          linear mixtures of models, with weights from held-out text
entropy_pruning  leaves out n-grams that change a model least
"""
