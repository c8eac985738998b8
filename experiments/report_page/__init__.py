"""The report: the content of results folders as one HTML file, in the order in which data pass.

    run            reads a results folder
    sweep_points   which settings of a sweep matter for a system
    curves         error rates against N and against weights
    groups         errors by tag, and the most frequent confusions
    trust          reliability of word confidences
    explorer       every utterance with its hypotheses
    payload        all of it as plain values
    page           values, style sheet and scripts in one file

Scripts that run in the browser: dom.js (elements), align.js (word alignments), plots.js,
sections.js, explorer.js and detail.js (the N-best explorer) and page.js (the whole page).
"""
