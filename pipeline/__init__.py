"""From a team's own traces to a shipped router: one module per step, imported left to right."""
