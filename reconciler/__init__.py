"""Tags as code for HighLevel (LeadConnector): manifests, plan, apply, drift."""

__version__ = "0.1.0"
