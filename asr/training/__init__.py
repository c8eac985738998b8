"""Training of acoustic models with CTC, from settings and audio to a finished model.

settings         what a user can set; imports no torch
augment          speed, noise, level and masks of training audio
speech_batches   utterances with references, and their batches
ctc              `secondpass train-acoustic`: model, loss, word error rate, the run

The training loop and the run's folder are those of `lm.training`.
"""
