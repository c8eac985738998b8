"""Training of language models, from settings and texts to a finished model.

settings        what a user can set; imports no torch
sequences       texts as token ids, and their batches
nbest_batches   N-best lists with known errors, and their batches
architecture    the configuration of a new model
lora            low-rank matrices, which alone are trained
optimizer       Muon and AdamW
loop            transformers' training loop for one run: one device, Ctrl-C
progress        what is printed meanwhile
resume          a run's folder: same-run check, newest whole checkpoint, finished model
causal_lm       `secondpass train-lm`: puts these together for running text
minimum_wer     `secondpass train-rescorer`: puts these together for N-best lists
"""
