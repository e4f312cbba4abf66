"""Views of a finished run, of a plan, of an error: pure functions from values to text, rows and documents.

escape    what may be shown on a terminal or in a log line
summary   RunResult -> the table and the sentences under it
failure   RapidbyteError -> the lines that tell it
document  RunResult, RunPlan, CheckReport, StreamShape -> JSON
overview  RunPlan, CheckReport, StreamShape -> text, YAML
verification  VerifyReport -> text, JSON
ledger    runs, state and leftovers -> text, JSON; rejects: the rows that were set aside
page      the JSON of a result -> one HTML page; charts: its SVG
"""
