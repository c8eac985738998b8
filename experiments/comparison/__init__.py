"""One experiment from its config to its numbers, in the order in which data pass.

The config:
    config            a dataclass from a YAML file and overrides
    yaml_reader       YAML without what surprises in it
    names             names that become names of files
    arguments         command-line options from a dataclass
    schema            the JSON Schema of a config, for editors
    sweep             the points of a grid, if a config has lists of values
    experiment        the settings of a comparison
    split             settings of an evaluation set
    column            settings of a language model that adds a column of scores
    system            settings of a row of the table
    plan              the comparison with every name resolved; all later steps use it

Before the first stage:
    inputs            what each split starts from: utterances, or N-best lists
    checks            finds everything that can be wrong
    dry_run           reports which stages would run
    log_file          where messages and warnings are kept

The stages:
    stages            runs a stage once; later runs read its result
    pipeline          all stages of a split
    first_pass        audio to emissions, emissions to N-best lists
    second_pass       a column of scores for each language model
    progress          progress bars

The numbers:
    counting          how words are counted
    marked            texts with NIST's alternatives and optional words, normalised
    references        the errors of texts
    dev               the splits on which weights are tuned
    spelling          warns if the spelling of N-best lists and references differs
    tuning            how each system decides
    picking           what each system chooses
    evaluation        error rates of systems, and tests against the baseline
    token_scores      the log-probs of tokens, where systems differ
    signature         how a number was made, in one line
    run               all of it, for one comparison
    table             the table, printed or as Markdown, LaTeX or CSV
    reproduction      whether a second run gives the same numbers
    rescorer_lists    N-best lists to train a language model on
"""
