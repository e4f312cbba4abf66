"""Measuring: rapidbyte against the floor of two psql's, in one run, interleaved, every iteration verified.

command    `rapidbyte bench`, step by step
modes      who takes part in which mode; contest: one timed run; inserting: what COPY is measured against
ends       the two databases; tables: the table that is measured, all of the SQL; files: the same as files
profiles   the tables, made from the row number (pure); shapes: further ones
memory     peak memory of processes that run
figures    measurements -> the report (pure); document, plots: its views
targets    what must be shown (pure); against: beside an earlier report
"""
