"""Text before a model reads it.

prose        files of printed text, as lines and as sentences
normalisers  from one system's spelling to another's, by name
truecase     upper and lower case as each word mostly has them in print
"""
