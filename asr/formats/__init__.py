"""Files of other systems: their N-best lists and transcripts, in and out.

nbest_import        the readers of N-best lists by the name of their format
json_lists          readers of JSON: our own lines, mlm-scoring, Hypo2Trans, Whisper
tabular             reader of tables with commas or tabs
toolkits            readers of ESPnet's, NeMo's, Kaldi's, icefall's and WeNet's files
transcript_readers  readers of transcripts: Kaldi's text, and NIST's trn, ctm and stm
references          the references of any command, from files of any format
line_formats        formats that show in a file's lines
records             what the readers share: lines, and checks of values
cells               texts in cells of tables, safe for spreadsheets
checked_lists       lists that were read, checked and made a table
transcript_writers  transcripts as text, trn, ctm, stm, JSON, CSV, SRT and WebVTT
"""
