"""Evaluation tasks: what an encoder is asked, with a score each."""
