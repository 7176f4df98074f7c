"""Grades a folder of handed-in exercise notebooks: `python -m mmlib grade SUBMISSIONS --csv MARKS.csv`.

Grading runs other people's code. The processes, from the outside in:

- the *supervisor* (`running`, `class_list`) reads notebooks as text, puts each together with the shipped
  one, keeps the marks, and never runs a line of a submission;
- a *template* (`template`) has torch and the checks imported, and forks for every attempt;
- a *keeper* (`keeper`) holds the time, memory and process limits, and ends all that is left behind;
- the *worker* (`session`), confined (`confine`), runs the learner's cells and the checks.

What a worker says counts only if it is signed with a key that its learner's code is not handed, if
nothing that a check relies on was replaced (`watch`), and if the same check, in the same process,
still refuses the same answer once its results are spoilt (`decoy`). `exercises/README.md` says what
this keeps out, and what it cannot.
"""
