"""Who may ask: registered clients with their keys, people with their accounts and sessions, and our own signing keys."""
