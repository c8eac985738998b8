"""The bundled demo, and how it is made (README.md; `build.sh` has the commands in order).

bundled         the place of the bundled config, models and data
voices          the synthetic speakers: who trains, who tunes, who tests
assistant_text  assistant-like training text from `grammar.txt`
training_text   the lines that the acoustic model is trained on
espeak          espeak-ng as a function from text to samples
synthesise      the speech of the demo and of the training, with manifests
overlap         finds the demo's sentences, or parts of them, in training text
perplexity      word perplexity of language models on references
"""
