"""The pages of a team: each inspector grades blind, and a chair sees what all say together."""
