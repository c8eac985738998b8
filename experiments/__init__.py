"""The commands, one a file: `secondpass NAME` runs `experiments/NAME.py`.

All stages at once:
    compare           every stage of an experiment, and the table of its systems
    report            results folders as one page, or their table for a paper
    doctor            what is installed and what would run

Stage by stage, in the order in which data pass:
    emit              audio to CTC log-probabilities
    decode            log-probabilities to N-best lists
    import_nbest      N-best lists of other systems
    rescore           a column of scores for one model
    correct           an instruction model reads the N-best lists and answers
    tune              weights from development data
    choose            one transcript for every utterance
    score             word error rates
    export            transcripts for other tools
    transcribe        all of it, for audio files
    cache             scores that are kept between runs

Models:
    prepare_text      text for language models
    truecase          a model that restores upper and lower case
    ngram             n-gram language models
    train_acoustic    training of acoustic models
    train_lm          training of neural language models
    train_rescorer    training of a neural language model on N-best lists

What the commands share:
    cli               finds and runs a command
    comparison/       the code of `compare`
    results           the results folder, written and read
    breakdown         errors by group, by N and by word
    report_page/      the page that `report` writes

Examples and measurements:
    configs           lists and copies the bundled experiments
    demo/             audio and models of the demo
    bench/            benchmarks
"""
