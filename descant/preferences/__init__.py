"""Preferences: what people, or teachers in their place, choose between two clips, kept so that nothing is lost."""
