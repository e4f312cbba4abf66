"""`rapidbyte check`: what would keep a run from starting, with the exact GRANT that is missing."""

from __future__ import annotations

from rapidbyte.cli.looking import Question, looking


@looking
def check(question: Question) -> int:
    """Check file, connections, privileges and targets; change nothing."""
    from rapidbyte import wiring
    from rapidbyte.report.document import check_document, document_text
    from rapidbyte.report.overview import check_text

    report = wiring.check(question.spec, options=question.options)
    question.console.require_print(
        check_text(report) if question.as_text else document_text(check_document(report)),
    )
    return next((item.exit_code for item in report.items if not item.ok), 0)
