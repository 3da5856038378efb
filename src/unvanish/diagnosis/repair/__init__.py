"""Repair: find a change that makes a failing network learn, and prove that it does."""
