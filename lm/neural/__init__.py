"""Neural language models: log-probs of whole texts under transformers' models.

pretrained      checkpoints: a model with its tokenizer, its device and its precision
quiet           transformers' own messages and bars kept away from the terminal
control_tokens  texts that spell a control token are read as characters
encoding        texts as token ids for causal models, with earlier texts in front
chat            N-best lists as an instruction model's conversation
masking         texts with one token masked at a time, for masked models
batching        batches by length, halved when memory runs out; progress in texts
token_tree      the hypotheses of a list as a tree, so that common prefixes are read once
forward_pass    runs a causal model on trees or padded texts, and takes log-probs from its output
probes          what a causal model can do, found out with a few tokens
causal          log-probs of texts under a causal model
masked          pseudo-log-likelihoods of texts under a masked model
correction      an instruction model reads an N-best list and answers
"""
