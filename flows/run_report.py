"""The Markdown that a retrain run leaves behind: what was compared, and the gate's decision."""

import re

from flows.retrain_gate import RetrainGate
from flows.training.collection import Collected
from flows.training.evaluation import Comparison
from flows.training.metrics import TITLES, shown
from flows.training.scores import Scores

KEY = "retrain-comparison"


def comparison_report(
    gate: RetrainGate,
    collected: Collected,
    *,
    name: str,
    champion: str,
    candidate: str,
    made_by: str,
    links: tuple[str, str],
    is_tried: bool = False,
) -> str:
    """Compare champion and candidate for a person; `links` are MLflow's pages of the version and of the run.

    `made_by` is what the candidate is, and who trained it; `is_tried` says that one which passes is put on trial.
    """
    comparison = gate.comparison
    version, run = links
    gain = f"{comparison.describe_gain()}{_gate_test(comparison)}"
    return f"""# {name}: version {champion} against version {candidate}

{_decision(gate, champion, candidate, is_tried=is_tried)}
Version {candidate} is {_literal(made_by)}. The candidate's gain ({TITLES[comparison.metric]}) is {gain}.
That it is none: p = {comparison.p_value:.2g}.
{_mcnemar(comparison)}
Version {champion} since the change: {gate.describe_standing()}.

| on {comparison.rows} held-out rows | champion {champion} | candidate {candidate} |
|---|---|---|
{_scores(comparison.champion, comparison.candidate)}
{_recall(comparison, champion, candidate)}
{collected.describe()}. {_unreadable(collected)}

[Version {candidate} in MLflow]({version}) · [its run]({run})
"""


def _decision(gate: RetrainGate, champion: str, candidate: str, *, is_tried: bool) -> str:
    if gate.verdict == "Promoted" and is_tried:
        return f"**The gate passed:** version {candidate} is on trial, and version {champion} serves meanwhile."
    if gate.verdict == "Promoted":
        return f"**The gate passed:** version {candidate} becomes champion and the reference is re-based."
    if gate.verdict == "Accepted":
        return (
            f"**The change is accepted:** version {champion} is as right as at its promotion and stays champion, the "
            f"reference is re-based, and version {candidate} is no significant gain."
        )
    return f"**The gate refused version {candidate}:** version {champion} stays champion."


def _gate_test(comparison: Comparison) -> str:
    if comparison.gate.test == "point":
        return ""
    return f", by the gate {comparison.gate.test} (p = {comparison.gate_p_value:.2g}, level {comparison.gate.level:g})"


def shortage_report(reason: str, collected: Collected) -> str:
    """Say for a person why there is no candidate."""
    told = f"No candidate was trained, and nothing changed. {_literal(reason)}. {_unreadable(collected)}"
    return f"# Too few labels\n\n{told}\n"


def _mcnemar(comparison: Comparison) -> str:
    if comparison.mcnemar_p_value is None:
        return ""
    return f"McNemar's exact test of the accuracies, two-sided: p = {comparison.mcnemar_p_value:.2g}.\n"


def _scores(champion: Scores, candidate: Scores) -> str:
    return "\n".join(
        f"| {TITLES[metric]} | {shown(metric, value)} | {shown(metric, candidate.values[metric])} |"
        for metric, value in champion.values.items()
    )


def _recall(comparison: Comparison, champion: str, candidate: str) -> str:
    """Return the table of the categories' recall; nothing for numbers."""
    if not comparison.categories:
        return ""
    old, new = comparison.champion.recall, comparison.candidate.recall
    rows = "\n".join(f"| {_literal(name)} | {old[name]:.2f} | {new[name]:.2f} |" for name in comparison.categories)
    return f"\n| recall by category | champion {champion} | candidate {candidate} |\n|---|---|---|\n{rows}\n"


def _literal(text: str) -> str:
    """Escape what Markdown takes for its own: a category may hold a pipe, or a tag."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", text)


def _unreadable(collected: Collected) -> str:
    if not collected.unreadable:
        return ""
    return "Left out, because they could not be read: " + "; ".join(collected.unreadable[:5])
