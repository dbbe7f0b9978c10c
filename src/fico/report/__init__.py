"""Tables, figures and pages from records; nothing here prints."""
