"""The report: what a results folder holds, as the data and the text of one HTML file.

run.py reads a folder; curves.py, groups.py and explorer.py turn its tables into plain numbers for
the page's plots and lists; page.py puts them, the style sheet and the scripts into one file.
"""
