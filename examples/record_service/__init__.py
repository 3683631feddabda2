"""An example record service: it stands outside the index and shows nothing before the consent service released it."""
