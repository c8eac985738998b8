"""What audio files and checkpoints say of themselves, before they are audio and models.

containers        whether a file of audio is complete
checkpoint        CTC checkpoints: found, read and checked
tokenizer_labels  the labels of a transformers tokenizer
"""
