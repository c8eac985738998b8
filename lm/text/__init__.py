"""Text before a model reads it.

unpacked     files of bytes and of UTF-8 text, plain or compressed
json_values  JSON texts
prose        files of printed text, as lines and as sentences
letters      which characters spell words
normalisers  from one system's spelling to another's, by name
loss         what a normaliser or a vocabulary loses
truecase     upper and lower case as each word mostly has them in print
"""
