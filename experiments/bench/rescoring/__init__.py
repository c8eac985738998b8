"""Ways of LLM rescoring side by side, in the order in which data pass.

lists             N-best lists, and a model of GPT-2's size
ways              one way of scoring them, in a process of its own: time, tokens and memory
merged_histories  what merging histories changes: WER, best hypotheses, tokens, speed
"""
