"""One experiment from its config to its numbers, in the order in which data pass.

The config:
    config         a dataclass from a YAML file and overrides
    arguments      command-line options from a dataclass
    schema         the JSON Schema of a config, for editors
    sweep          the points of a grid, where a config has lists of values
    experiment     the settings of a comparison
    split, column, system    its parts: evaluation sets, language models, rows of the table
    plan           the comparison with every name resolved; all later steps use it

Before the first stage:
    inputs         what each split starts from: utterances, or N-best lists
    checks         everything that can be wrong is found here
    dry_run        which stages would run
    log_file       where messages and warnings are kept

The stages:
    stages         a stage runs once; later runs read its result
    pipeline       all stages of a split
    first_pass     audio to emissions, emissions to N-best lists
    second_pass    a column of scores for each language model
    progress       progress bars

The numbers:
    counting, references     how words are counted, and the errors of texts
    dev            the splits that weights are tuned on
    spelling       warns of lists that are spelled otherwise than the references
    tuning         how each system decides
    evaluation     what each system chooses, its error rates, tests against the baseline
    token_scores   the log-probs of tokens, where systems differ
    signature      how a number was made, in one line
    run            all of it, for one comparison
    table          the table, printed or as Markdown, LaTeX or CSV
    reproduction   whether a second run gives the same numbers
    rescorer_lists N-best lists to train a language model on
"""
