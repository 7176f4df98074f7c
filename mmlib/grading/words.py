"""The words in which worker, keeper and supervisor speak with each other."""

PASSED, FAILED, TAMPERED = "passed", "failed", "tampered"
NOT_ATTEMPTED = "not attempted"
CLEAN = "clean"
#: How a reason begins that is no fault of the learner's.
GRADER_FAILED = "the grader failed"
FORGED = "wrote into the grader's channel"


def grader_failed(error: BaseException) -> str:
    """Say in one line what went wrong in the grader itself."""
    text = " ".join(str(error).split())
    return f"{GRADER_FAILED}: {type(error).__name__}: {text}".rstrip(": ")[:300]
