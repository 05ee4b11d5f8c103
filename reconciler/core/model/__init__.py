"""The words of the domain: names, manifests, a contact's state, outcomes, journal, settings."""
