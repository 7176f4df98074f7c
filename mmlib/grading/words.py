"""The words in which worker, keeper and supervisor speak with each other."""

PASSED, FAILED, TAMPERED = "passed", "failed", "tampered"
NOT_ATTEMPTED = "not attempted"
CLEAN = "clean"
FORGED = "wrote into the grader's channel"
