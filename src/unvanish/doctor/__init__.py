"""The doctor: measures, diagnoses and explains any network."""
