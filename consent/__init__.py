"""May this be shared? Facts, rules, decisions, releases and the people's own directives."""
