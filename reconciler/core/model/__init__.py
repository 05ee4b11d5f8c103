"""The words of the domain: names, manifests, what is known of a contact, outcomes, journal, settings."""
