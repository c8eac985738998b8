"""Training of acoustic models.

ctc      trains or fine-tunes a CTC model
augment  changes of the audio and of its features while training
"""
