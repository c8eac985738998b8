#!/usr/bin/env bash
# Makes the bundled demo again: its speech, its acoustic model, its n-gram and its causal LM.
#   TEXT=folder bash experiments/demo/build.sh
# TEXT has novels.txt.xz (running English text, one paragraph a line) and
# librispeech-train-clean-100.txt.xz (transcripts, one utterance a line). The extra `demo` is needed.
# It takes about two and a half hours on two cores, most of it for training. Every step can be repeated
# alone, and training that was interrupted continues from its checkpoints. Results are written to
# runs/demo; the last lines copy them here.
set -euo pipefail
text=${TEXT:-../shared/data/text}
here=experiments/demo
runs=runs/demo
mkdir -p $runs

# The speech: 305 sentences, with dev and test voices that no training speech has.
python -m experiments.demo.synthesise demo --sentences $here/sentences.tsv -o $here

# Texts.
python -m experiments.demo.assistant_text --lines 200000 --seed 1 -o $runs/assistant.txt
secondpass prepare-text "$text/novels.txt.xz" --normaliser lower --running --join 3 40 \
  -o $runs/novels.txt
secondpass prepare-text "$text/librispeech-train-clean-100.txt.xz" --normaliser lower \
  -o $runs/librispeech.txt
secondpass prepare-text "$text/novels.txt.xz" "$text/librispeech-train-clean-100.txt.xz" \
  --normaliser librispeech --running -o $runs/books-upper.txt
secondpass prepare-text $runs/assistant.txt --normaliser librispeech -o $runs/assistant-upper.txt
head -n -3000 $runs/novels.txt > $runs/novels-train.txt
tail -n 3000 $runs/novels.txt > $runs/novels-valid.txt
awk 'NR % 9 == 0' $runs/novels-train.txt > $runs/novels-sample.txt
awk 'NR % 2 == 0' $runs/assistant.txt > $runs/assistant-half.txt

# The n-gram LM.
secondpass ngram $runs/books-upper.txt $runs/assistant-upper.txt --order 3 --prune 2 15 40 \
  -o $runs/lm.arpa.gz

# The acoustic model: 20 h of books and spelled words, then 16 h with assistant-like text.
sources=(--utterances "$text/librispeech-train-clean-100.txt.xz" --novels "$text/novels.txt.xz")
python -m experiments.demo.training_text "${sources[@]}" \
  --without $here/sentences.tsv -o $runs/speech-1.txt
python -m experiments.demo.training_text "${sources[@]}" --assistant $runs/assistant.txt \
  --without $here/sentences.tsv -o $runs/speech-2.txt
python -m experiments.demo.synthesise train $runs/speech-1.txt --hours 20 -o $runs/speech-1
python -m experiments.demo.synthesise train $runs/speech-2.txt --hours 16 -o $runs/speech-2
secondpass train-acoustic experiments/configs/train-demo-acoustic-1.yaml
secondpass train-acoustic experiments/configs/train-demo-acoustic-2.yaml

# The causal LM.
secondpass train-lm experiments/configs/train-demo-lm-1.yaml
secondpass train-lm experiments/configs/train-demo-lm-2.yaml

cp $runs/lm.arpa.gz $here/
for model in acoustic lm; do
  mkdir -p $here/$model
  find $runs/$model-2 -maxdepth 1 -type f ! -name training.json -exec cp {} $here/$model/ \;
done
