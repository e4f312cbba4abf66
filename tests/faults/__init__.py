"""The proof of "exactly once": runs are broken in every way we know, run again, and compared with a model.

dataset       the rows, the modes in which they are loaded, and what each must leave behind
spawn         runs the command: as a process, or forked from a warm interpreter
warm          that interpreter
lane          a server, a source and templates of destinations; one cell at a time
oracle        what must hold after each attempt and at the end
reader        reads the targets all the while
sweep         P1: failpoints x actions x occurrences x modes x workers
kills         P2: SIGKILL at random moments, of a run, of one backend; the server stops; a frozen run
proxy, cuts   P3: a TCP proxy, and the places where it cuts
refusals      P4: what servers refuse, and the exit codes
rounds        P5: runs of one pipeline at once, many pipelines into one schema, readers of replaces
late          P7: late commits and ties
mutants       P9: defects that the checks above must find
results, reliability    what was found, as JSON; RELIABILITY.md
"""
