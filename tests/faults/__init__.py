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
smalldisk     a disk that is full
rounds        P5: runs of one pipeline at once, many pipelines into one schema
watchers      P5: readers of replaces
late, ties    P7: late commits; ties across all bounds
plan          which cells there are: the slice, and all of them
protocol      carries them out, also by shares of a short time
mutants       P9: defects that the checks above must find
results, reliability    what was found, as JSON; RELIABILITY.md, with what not_run.md and others.md say
"""
