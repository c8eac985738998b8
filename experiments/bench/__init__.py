"""Ways of doing the same thing side by side, in one run on the same input; tables: README.md.

A module is a benchmark that is run by its name (`python -m experiments.bench.decode`) or a part of
one:

decode       first-pass decoders: speed, WER and N-best lists
decoders/    the decoders, and what they are given
first_call   what our beam decoder takes before it is warm; run by `decode`
agreement    whether our beam decoder and pyctcdecode find the same best text
ngram        n-gram models: memory, time to open and queries a second, beside KenLM
rescore      ways of LLM rescoring: speed, tokens, memory and exactness
rescoring/   the ways, and what they are given
evaluate     counting, tuning and testing, beside loops over jiwer and numpy
report       the tables, on the terminal and as Markdown
"""
