"""The second pass: language models score N-best lists, and weights make one score of many.

In the order in which data pass:

scorer      what a scorer is: its texts, its scores and its settings
context     what was said before each utterance
plugin      custom scorers, from a Python file
rescore     the scores of one model as a column of an N-best table
cache       scores that are kept between runs
cache_file  the file of these scores
explain     the log-probs of a text's tokens
columns     the columns of an N-best table that are no log-probs
combine     the weighted sum of columns: the only place where weights are applied

text/        text before a model reads it
ngram/       n-gram models, stored and queried
estimation/  n-gram models, made
neural/      causal and masked language models
training/    training of causal language models
rerank/      weights and decisions

Used everywhere:

errors  errors that a user is shown as one line
ranges  valid ranges of numeric settings
files   files and folders that appear only when they are complete
jit     functions compiled by numba
"""
