"""n-gram models, stored and queried; `lm.estimation` makes them.

arpa         a model in arrays, and written as ARPA text
arpa_reader  ARPA files read: headers, unigrams, and what is wrong in a file
arpa_parser  the lines of ARPA files taken apart in machine code
words        the words of a model by their bytes, and texts as their numbers
trie         n-grams put in the order in which queries find them
quantise     8 bits for each value of a model
store        a model in a file of our own, which is opened without reading it
query        one n-gram after the other in machine code: log-probs and states
batch_query  many texts at once
lexicon      spellings as a tree, for the beam search
model        a loaded model: what the other packages use
scorer       a model as a scorer of the second pass
"""
