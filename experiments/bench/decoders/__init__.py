"""First-pass decoders side by side, in the order in which data pass.

synthetic_emissions  log-probs made from text, from peaky to noisy
interface            what the benchmark knows of a decoder: how it is loaded, set and called
tasks                utterances, vocabularies and language models that the decoders are given
flashlight           flashlight-text's and torchaudio's decoders
peers                all decoders: ours, pyctcdecode's, flashlight-text's
timing               times them in turns, and counts errors and texts
"""
