"""`rapidbyte plan`: what a run would do, without doing it."""

from __future__ import annotations

from rapidbyte.cli.looking import Question, looking


@looking
def plan(question: Question) -> int:
    """Show what a run would do: statements, publish method and why, wire format, partitions, workers."""
    from rapidbyte import wiring
    from rapidbyte.report.document import document_text, plan_document
    from rapidbyte.report.overview import plan_text

    found = wiring.plan(question.spec, options=question.options)
    question.console.require_print(plan_text(found) if question.as_text else document_text(plan_document(found)))
    return 0
