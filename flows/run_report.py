"""The Markdown that a retrain run leaves behind: what was compared, and the gate's decision."""

import re

from flows.training.collection import Collected
from flows.training.evaluation import Comparison, Scores

KEY = "retrain-comparison"


def comparison_report(
    comparison: Comparison, collected: Collected, *, name: str, champion: str, candidate: str, links: tuple[str, str]
) -> str:
    """Compare champion and candidate for a person; `links` are MLflow's pages of the version and of the run."""
    decision = (
        f"**The gate passed:** version {candidate} becomes champion and the reference is re-based."
        if comparison.passed
        else f"**The gate refused version {candidate}:** version {champion} stays champion."
    )
    version, run = links
    return f"""# {name}: version {champion} against version {candidate}

{decision} Accuracy changes by {comparison.gain:+.3f}; {comparison.minimum_gain:+.3f} or more was asked for.
McNemar's exact test: p = {comparison.mcnemar_p_value:.2g}.

| on {comparison.rows} held-out rows | champion {champion} | candidate {candidate} |
|---|---|---|
{_scores(comparison.champion, comparison.candidate)}

| recall by category | champion {champion} | candidate {candidate} |
|---|---|---|
{_recall(comparison)}

{collected.describe()}. {_unreadable(collected)}

[Version {candidate} in MLflow]({version}) · [its run]({run})
"""


def shortage_report(reason: str, collected: Collected) -> str:
    """Say for a person why there is no candidate."""
    told = f"No candidate was trained, and nothing changed. {_literal(reason)}. {_unreadable(collected)}"
    return f"# Too few labels\n\n{told}\n"


def _scores(champion: Scores, candidate: Scores) -> str:
    return "\n".join(
        f"| {title} | {getattr(champion, key):.3f} | {getattr(candidate, key):.3f} |"
        for title, key in (("accuracy", "accuracy"), ("macro F1", "macro_f1"), ("log loss", "log_loss"))
    )


def _recall(comparison: Comparison) -> str:
    old, new = comparison.champion.recall, comparison.candidate.recall
    return "\n".join(f"| {_literal(name)} | {old[name]:.2f} | {new[name]:.2f} |" for name in comparison.categories)


def _literal(text: str) -> str:
    """Escape what Markdown takes for its own: a category may hold a pipe, or a tag."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", text)


def _unreadable(collected: Collected) -> str:
    if not collected.unreadable:
        return ""
    return "Left out, because they could not be read: " + "; ".join(collected.unreadable[:5])
