"""From files to manifests and settings; the home of yaml and pydantic. Law: sees core only."""
